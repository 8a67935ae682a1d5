"""Judge the models.  In: the models, data/clean, data/split, data/detections, data/upscaled.  Out: metrics.
Why: figures on patients that no model has seen, each with the interval that so few patients allow.
"""
