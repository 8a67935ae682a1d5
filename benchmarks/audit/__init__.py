"""The audit's figures: the gate's false failures and what it catches."""
