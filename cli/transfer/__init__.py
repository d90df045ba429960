"""`jaxattr transfer`."""
