"""The command line: flags and verbs, and the only wiring."""

from exporter import late

late.postpone()

from exporter.cli.arguments import main  # noqa: E402 - what it imports is to be loaded late

__all__ = ["main"]
