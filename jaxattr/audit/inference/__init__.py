"""What the ledger says of classes, pairs and places: posteriors, extents, excesses."""
