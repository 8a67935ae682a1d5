"""Reading incoming sources: what ``collect`` takes in and ``cytoline add`` previews.

``schema`` (source.yaml) -> ``listing`` (files) -> one reader per kind -> ``examine`` (verdicts and counts).
"""
