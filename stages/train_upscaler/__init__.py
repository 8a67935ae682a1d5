"""Train the upscaler.  In: data/patches (annotated cells).  Out: models/upscaler.  Why: a network that has seen
this laboratory's nuclei can enlarge them with sharper outlines than a filter; whether it does is measured here.
"""
