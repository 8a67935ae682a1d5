"""Train the detector.  In: data/clean, data/split, data/augmented.  Out: models/detector.  Why: stage one of
two-stage screening finds the cells that matter in a field, so that stage two can look at each of them enlarged.
"""
