"""One script per figure of the paper that shows results: `python -m benchmarks.paper fig5`."""
