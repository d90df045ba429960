"""The paper's experiments as functions: guidance, details, attention transfer, pixel rewriting."""
