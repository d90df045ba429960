"""What the model says of every image: logits, features and maps, written to the ledger."""
