"""Measurements of the audit, on real repositories that they make themselves; judged by code that the audit lacks."""
