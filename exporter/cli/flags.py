"""The flags that verbs share, and what every verb's parser has."""

import argparse
from pathlib import Path
from typing import Final

from exporter.cli import logs, values

DEFAULT_ADDRESS: Final = ":9844"

EXIT_CODES: Final = """\
exit codes:
  0  fine
  1  the daemon failed or must be restarted, or the verb could not do it; for doctor: warnings
  2  the configuration or a flag is wrong; for doctor: money would be wrong
"""


def add_verb(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    text: str,
    example: str,
    *,
    of: str = "",
) -> argparse.ArgumentParser:
    """A verb's parser, with what all have: help, an example, exit codes, and how to log.

    `of` is the verb that it stands under, like `report`.
    """
    command = " ".join(filter(None, ("inference-cost-exporter", of, name, example)))
    verb = verbs.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=f"example:\n  {command}\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _logs(verb)
    verb.set_defaults(parser=verb)
    return verb


def of_the_daemon() -> str:
    """The lines of its help that tell its flags."""
    flags = argparse.ArgumentParser(add_help=False, usage=argparse.SUPPRESS)
    daemon(flags)
    _logs(flags)
    return flags.format_help().partition("\n")[2]


def daemon(verb: argparse.ArgumentParser) -> None:
    """All that the daemon takes."""
    sources(verb)
    verb.add_argument(
        "--config.watch",
        dest="watch",
        action="store_true",
        help="reload the configuration when its file has another content, as a ConfigMap's does",
    )
    listen(verb)


def sources(verb: argparse.ArgumentParser) -> None:
    """Which configuration, and which books."""
    config(verb)
    verb.add_argument(
        "--ledger.path",
        dest="ledger_path",
        type=values.absolute,
        metavar="FILE",
        help="where the books are kept: a path from / on",
    )


def config(verb: argparse.ArgumentParser, *, required: bool = False) -> None:
    """Which configuration."""
    verb.add_argument(
        "--config.file",
        dest="config_file",
        type=Path,
        required=required,
        metavar="FILE",
        help="configuration in YAML; without one, prices are estimates of the bundled catalogue",
    )


def listen(verb: argparse.ArgumentParser) -> None:
    """Where to serve."""
    verb.add_argument(
        "--web.listen-address",
        dest="listen_address",
        default=DEFAULT_ADDRESS,
        type=values.address,
        metavar="ADDRESS",
        help=f"address to serve on (default {DEFAULT_ADDRESS})",
    )


def _logs(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--log.level", dest="log_level", choices=logs.LEVELS, default="info")
    verb.add_argument("--log.format", dest="log_format", choices=logs.FORMATS, default="logfmt")
