"""The audit against what was planted, beside other ways to rank labels."""
