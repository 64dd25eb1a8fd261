"""The command line of Polytrace: one file for each command."""

from typing import Any

from support.signals import ended_by_ctrl_c

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line; Ctrl-C ends it with a sentence also while its modules are imported."""
    with ended_by_ctrl_c():
        from flows.cli.command_line import main as run

        run()


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from flows.cli.command_line import app

    return app
