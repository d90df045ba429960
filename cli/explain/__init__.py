"""`jaxattr explain`."""
