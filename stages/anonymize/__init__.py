"""Raw images and names -> files and codes that name nobody.  In: data/raw.  Out: data/clean, data/quarantine.

Why: everything after this stage may be pushed, logged and shown.  Images are made anew, never edited: pixels in a
file of our own writing, and nothing else.  What cannot be made anew is kept back with a reason, never passed on.
"""
