"""`jaxattr bench` and its commands."""
