"""The answer key of the de-identification benchmark: files whose hidden identifiers are known, and how to score them.

Nothing here knows any de-identifier: files are written byte by byte from the formats' specifications, and what
is left in an output is judged by a search of its own.
"""
