"""Lineage: what made a model, what saw a patient, whether anything has changed since, and the proof of it."""
