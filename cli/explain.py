"""`jaxattr explain`: why the model sees what it sees in a few photos."""

import click


@click.command()
def explain() -> None:
    """Show what in a photo speaks for a class, and what against it."""
