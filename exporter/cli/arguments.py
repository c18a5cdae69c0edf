"""Flags and verbs. A verb's code is imported when it is called: the daemon carries nothing of the others."""

import argparse
import difflib
import os
import sys
from collections.abc import Sequence
from typing import Final

from exporter.cli import flags, logs, status
from exporter.cli.flags import PROGRAM, Exits
from exporter.cli.terminal import OutputError, complain, standard_output
from exporter.frozen import replace
from exporter.version import VERSION

DAEMON_VERB: Final = "serve"
SIMILAR: Final = 0.7
"""Similarity from which on a flag or a verb is suggested."""
DAEMON: Final = Exits(
    fine="stopped by SIGTERM or SIGINT",
    failed="it cannot listen or open the ledger, or must be restarted since the driver was replaced under it",
    interrupted="",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status, 1 where its answer cannot be written."""
    if sys.stderr is None:  # closed: the next file that is opened would get its number
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123 - for as long as the process lives
    try:
        with standard_output():
            return _run(arguments)
    except OutputError as error:
        if str(error):
            complain(error)
        return status.FAILED


def _run(arguments: Sequence[str] | None) -> int:
    given = _with_verb(sys.argv[1:] if arguments is None else list(arguments))
    parser = program(daemon_only=given[0] == DAEMON_VERB)
    _check_verbs(parser, given)
    chosen, unknown = parser.parse_known_args(given)
    if unknown:
        chosen.parser.error(f"unknown here: {' '.join(unknown)}{_flag_hint(unknown[0], chosen.parser)}")
    logs.set_up(chosen.log_level, chosen.log_format)
    try:
        code: int = chosen.run(chosen)
    except KeyboardInterrupt:
        return status.INTERRUPTED
    return code


def _flag_hint(unknown: str, parser: argparse.ArgumentParser) -> str:
    """The flag of the verb that is most similar to an unknown one, or where a verb belongs."""
    if not unknown.startswith("-"):
        return " (put the verb before its flags)"
    known = [flag for flag in flags.names(parser) if flag.startswith("--")]
    similar = difflib.get_close_matches(unknown.partition("=")[0], known, 1, SIMILAR)
    return f" (did you mean {similar[0]}?)" if similar else ""


def _check_verbs(parser: argparse.ArgumentParser, given: Sequence[str]) -> None:
    """Exit on a word that is no verb, with the verb that is most similar to it."""
    for word in given:
        verbs = flags.verbs_of(parser)
        if not verbs or word.startswith("-"):
            return
        if word not in verbs:
            similar = difflib.get_close_matches(word, verbs, 1, SIMILAR)
            hint = f"did you mean {similar[0]}?" if similar else f"verbs: {', '.join(verbs)}"
            parser.error(f"invalid choice: {word!r}; {hint}")
        parser = verbs[word]


def _with_verb(arguments: list[str]) -> list[str]:
    """`serve` is the verb when none is named."""
    if any(not argument.startswith("-") for argument in arguments[:1]):
        return arguments
    if {"-h", "--help", "--version"} & set(arguments):
        return arguments
    return [DAEMON_VERB, *arguments]


def program(*, daemon_only: bool = False) -> argparse.ArgumentParser:
    """The parser of the whole program.

    With `daemon_only` it has the verb `serve` alone: the others take 0.8 MiB, which a daemon would keep.
    """
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        usage=f"{PROGRAM} [FLAGS OF THE DAEMON]\n       {PROGRAM} VERB [FLAGS OF THE VERB]",
        description="Prometheus exporter for the cost of LLM inference: dollars per server, model and token.",
        epilog=None if daemon_only else _epilog(),
        formatter_class=flags.HelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {VERSION}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB", prog=PROGRAM)

    serve = flags.add_verb(
        verbs,
        DAEMON_VERB,
        "run the daemon (the default)",
        examples=(
            ("--config.file=/etc/ice.yaml", "meter this host, and serve /metrics on port 9844"),
            ("--web.listen-address=127.0.0.1:9844 --log.format=json", "for this machine alone, logs as JSON"),
        ),
        exits=DAEMON,
    )
    flags.daemon(serve)
    serve.set_defaults(run=_serve)
    if not daemon_only:
        _add_others(verbs)
    return parser


def _epilog() -> str:
    """What the help of the program ends with."""
    return (
        f"flags of the daemon, which runs without a verb:\n{flags.of_the_daemon()}\nexamples:\n"
        f"  {PROGRAM} --config.file=/etc/ice.yaml\n  {PROGRAM} doctor --config.file=/etc/ice.yaml\n\n"
        f"{DAEMON.text()}"
    )


def _add_others(verbs: "flags.Verbs") -> None:
    """The demo, and the verbs that print an answer and exit."""
    from exporter.cli import (  # noqa: PLC0415 - the daemon does without
        adjust,
        advise,
        check_config,
        completion,
        explain,
        history,
        init,
        ledger,
        price,
        prices,
        reconcile,
        record,
        report,
        show_status,
        tco,
    )

    _add_demo(verbs)
    init.add(verbs)
    _add_doctor(verbs)
    for verb in (
        show_status,
        check_config,
        ledger,
        adjust,
        explain,
        advise,
        history,
        reconcile,
        report,
        price,
        prices,
        tco,
        record,
    ):
        verb.add(verbs)
    completion.add(verbs, program)


def _add_demo(verbs: "flags.Verbs") -> None:
    demo = flags.add_verb(
        verbs,
        "demo",
        "run on a simulated host of 8 GPUs: no GPU, no configuration",
        examples=(
            ("", "a host that has been metered for five weeks, on port 9844 of this machine alone"),
            ("--web.listen-address=:8080 --seed=7", "on another port of every interface, with other days"),
            ("--print-prometheus-config", "how Prometheus scrapes it"),
        ),
        exits=replace(DAEMON, failed="it cannot listen, or has no folder for its ledger"),
    )
    flags.listen(demo, flags.DEMO_ADDRESS)
    demo.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="NUMBER",
        help="seed of the simulated days (default 0)",
    )
    demo.add_argument(
        "--print-prometheus-config",
        action="store_true",
        help="print a Prometheus scrape configuration for the demo and exit",
    )
    demo.set_defaults(run=_demo)


def _add_doctor(verbs: "flags.Verbs") -> None:
    doctor = flags.add_verb(
        verbs,
        "doctor",
        "check this host: GPUs, prices, servers, sources and ledger",
        examples=(
            ("", "without a configuration"),
            ("--config.file=/etc/ice.yaml", "with a configuration"),
            ("--config.file=/etc/ice.yaml --json", "the same for programs"),
        ),
        exits=Exits("all is well", "warnings", "the configuration or a flag is wrong, or money would be"),
    )
    flags.sources(doctor)
    doctor.add_argument("--json", action="store_true", help="print the findings as JSON")
    doctor.set_defaults(run=_doctor)


def _serve(parsed: argparse.Namespace) -> int:
    from exporter.cli.serve import ServeFlags, serve  # noqa: PLC0415 - see the module's first line

    return serve(flags.chosen(ServeFlags, parsed))


def _demo(parsed: argparse.Namespace) -> int:
    from exporter.cli.demo import demo, print_prometheus_configuration  # noqa: PLC0415

    if parsed.print_prometheus_config:
        return print_prometheus_configuration(parsed.listen_address)
    return demo(parsed.listen_address, parsed.seed, parsed.web_config_file, tuple(parsed.allowed_hosts))


def _doctor(parsed: argparse.Namespace) -> int:
    from exporter.cli.doctor import doctor  # noqa: PLC0415

    return doctor(parsed.config_file, parsed.ledger_path, as_json=parsed.json)
