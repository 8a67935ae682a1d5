"""Which images teach, which choose and which judge.  In: data/clean.  Out: data/split.

Why by patient: cells of one person resemble each other, so a person on both sides makes every figure a lie.
Why by hash: a patient's part follows from the patient alone, so nobody is moved when others come, unless they
bring a copy of an image that is there (see assign).
"""
