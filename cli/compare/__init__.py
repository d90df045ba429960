"""`jaxattr compare`."""
