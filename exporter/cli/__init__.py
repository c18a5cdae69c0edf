"""The command line: flags and verbs, and the only wiring."""

from exporter.cli.arguments import main

__all__ = ["main"]
