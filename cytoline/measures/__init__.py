"""Figures from counts and ranked detections, for any weights of the patients: used by ``evaluate`` and the gate."""
