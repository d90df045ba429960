"""`jaxattr audit`."""
