"""Write `cli.md` beside this file from the commands' own `--help`; a test compares."""

from __future__ import annotations

from pathlib import Path

import click

from jaxattr.cli.main import main

HEAD = (
    "# The command\n\nWritten by `python docs/reference/cli.py` from `--help`; edit the commands "
    "instead.\n"
)


def reference() -> str:
    """The help of the group, of each command, and of the commands of a group, as Markdown."""
    group = click.Context(main, info_name="jaxattr", terminal_width=80)
    parts = [HEAD, _section("jaxattr", main, group)]
    for name in main.list_commands(group):
        command = main.get_command(group, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=group, terminal_width=80)
        parts.append(_section(f"jaxattr {name}", command, context))
        for inner, one in getattr(command, "commands", {}).items():
            below = click.Context(one, info_name=inner, parent=context, terminal_width=80)
            parts.append(_section(f"jaxattr {name} {inner}", one, below))
    return "\n".join(parts)


def _section(title: str, command: click.Command, context: click.Context) -> str:
    return f"## `{title}`\n\n```text\n{command.get_help(context)}\n```\n"


if __name__ == "__main__":
    Path(__file__).with_name("cli.md").write_text(reference())
