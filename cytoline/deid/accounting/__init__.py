"""Proof by accounting: every byte of a new file is explained, or it is a finding."""
