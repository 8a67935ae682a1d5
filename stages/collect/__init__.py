"""Read every listed source into one raw store.  In: data/incoming.  Out: data/raw.  Why: later stages see one form.

Whatever is left out is counted by reason (``collected.json``) and named (``refused.jsonl``); in = kept + refused.
"""
