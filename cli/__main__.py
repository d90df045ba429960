"""`python -m jaxattr.cli` is the command `jaxattr`."""

from jaxattr.cli.main import main

main()
