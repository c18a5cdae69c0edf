"""Flags and verbs. A verb's code is imported when it is called: the daemon carries nothing of the others."""

import argparse
import sys
from collections.abc import Sequence
from typing import Final

from exporter import __version__
from exporter.cli import books, flags, logs, record_flags, tco_flags

PROGRAM: Final = "inference-cost-exporter"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status."""
    chosen, unknown = _parser().parse_known_args(
        _with_verb(sys.argv[1:] if arguments is None else list(arguments))
    )
    if unknown:
        hint = "" if unknown[0].startswith("-") else " (a verb stands before its flags)"
        chosen.parser.error(f"unknown here: {' '.join(unknown)}{hint}")
    logs.set_up(chosen.log_level, chosen.log_format)
    try:
        status: int = chosen.run(chosen)
    except KeyboardInterrupt:
        return 130
    return status


def _with_verb(arguments: list[str]) -> list[str]:
    """`serve` is the verb when none is named."""
    if any(not argument.startswith("-") for argument in arguments[:1]):
        return arguments
    if {"-h", "--help", "--version"} & set(arguments):
        return arguments
    return ["serve", *arguments]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        usage=f"{PROGRAM} [FLAGS OF THE DAEMON]\n       {PROGRAM} VERB [FLAGS OF THE VERB]",
        description="What your own LLM inference costs: dollars per server, model and token, for Prometheus.",
        epilog=f"flags of the daemon, which runs without a verb:\n{flags.of_the_daemon()}\nexamples:\n"
        f"  {PROGRAM} --config.file=/etc/ice.yaml\n  {PROGRAM} doctor --config.file=/etc/ice.yaml\n\n"
        f"{flags.EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB", prog=PROGRAM)

    serve = flags.add_verb(verbs, "serve", "run the daemon (the default)", "--config.file=/etc/ice.yaml")
    flags.daemon(serve)
    serve.set_defaults(run=_serve)

    demo = flags.add_verb(verbs, "demo", "run on a simulated host of 8 GPUs: no GPU, no configuration", "")
    flags.listen(demo)
    demo.set_defaults(run=_demo)

    doctor = flags.add_verb(
        verbs, "doctor", "say what would be metered, at which price, and whether the money is right", ""
    )
    flags.sources(doctor)
    doctor.add_argument("--json", action="store_true", help="print the findings as JSON")
    doctor.set_defaults(run=_doctor)

    check = flags.add_verb(verbs, "check-config", "check a configuration file", "--config.file=/etc/ice.yaml")
    flags.config(check, required=True)
    check.add_argument("--json", action="store_true", help="print what it comes to, or is wrong, as JSON")
    check.set_defaults(run=_check_config)

    books.add(verbs)
    tco_flags.add(verbs)
    record_flags.add(verbs)
    return parser


def _serve(chosen: argparse.Namespace) -> int:
    from exporter.cli.serve import Flags, serve  # noqa: PLC0415 - see the module's first line

    return serve(Flags(chosen.config_file, chosen.listen_address, chosen.ledger_path, watch=chosen.watch))


def _demo(chosen: argparse.Namespace) -> int:
    from exporter.cli.demo import demo  # noqa: PLC0415

    return demo(chosen.listen_address)


def _doctor(chosen: argparse.Namespace) -> int:
    from exporter.cli.doctor import doctor  # noqa: PLC0415

    return doctor(chosen.config_file, chosen.ledger_path, as_json=chosen.json)


def _check_config(chosen: argparse.Namespace) -> int:
    from exporter.cli.check_config import checked  # noqa: PLC0415

    return checked(chosen.config_file, as_json=chosen.json)
