"""Erasure of one patient (GDPR Art. 17): what is theirs in every store, its removal, the proof, the certificate.

What counts as the person's, what is rewritten and what is dropped is written in docs/decisions/008-erasure.md.
"""
