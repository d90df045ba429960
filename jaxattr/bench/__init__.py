"""Benchmarks with known answers: runs that resume, scores with intervals, figures."""
