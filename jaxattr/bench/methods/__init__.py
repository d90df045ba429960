"""Every metric on every method, on photos of a labelled folder."""
