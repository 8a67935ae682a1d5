"""The audit, measured: `python -m benchmarks.audit`."""
