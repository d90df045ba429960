"""Measures the library's own claims where the truth is known: pure functions, nothing printed."""
