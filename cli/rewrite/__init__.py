"""`jaxattr rewrite`."""
