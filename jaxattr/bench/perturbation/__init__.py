"""Masked from the best or the worst token on: the paper's and T-Attr's protocols."""
