"""The command line of Polytrace: one file for each command."""

from flows.cli.command_line import app, main

__all__ = ["app", "main"]
