"""Train the classifier.  In: data/upscaled, data/split.  Out: models/classifier.  Why: stage two of two-stage
screening grades each cell that stage one found, with probabilities that mean what they say.
"""
