"""How well and how fast tampering is found: ``python -m benchmarks.audit.tampering`` and ``...speed``."""
