"""The audit, measured: how long an answer takes on a large archive."""
