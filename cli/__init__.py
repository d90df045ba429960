"""The command `jaxattr`: parse, call the library, write. One file per command."""
