"""Images that are there twice: hashes, alignment, groups of duplicates."""
