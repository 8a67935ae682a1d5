"""What laws and checklists ask, and what this repository can show for it: rows of evidence, filled or empty."""
