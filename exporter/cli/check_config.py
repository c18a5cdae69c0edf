"""The verb `check-config`: validates a configuration, and a web configuration, at the present prices."""

import argparse
import sys
from pathlib import Path

from exporter.cli import flags
from exporter.cli.fix import fixed
from exporter.cli.flags import Exits
from exporter.cli.terminal import columns, complain, fitted, write_colored
from exporter.clock import SystemClock
from exporter.config import ConfigError
from exporter.config.corrections import read_corrected, with_gpu_models
from exporter.reports.check_config import check_config
from exporter.web.access import Access


def add(verbs: flags.Verbs) -> None:
    """Add it to the program's parser."""
    verb = flags.add_verb(
        verbs,
        "check-config",
        "validate a configuration file and print the prices it results in",
        examples=(
            (
                "--config.file=/etc/ice.yaml",
                "print each rule with its result, or the errors",
            ),
            ("--config.file=/etc/ice.yaml --json", "the same for programs"),
            ("--config.file=/etc/ice.yaml --page=page.prom", "what it reads from a page of metrics, as well"),
            ("--config.file=/etc/ice.yaml --fix", "show known corrections, as a diff"),
            ("--config.file=/etc/ice.yaml --fix --write", "correct the file; comments and layout stay"),
            ("--config.file=/etc/ice.yaml --web.config.file=/etc/web.yml", "TLS and passwords as well"),
        ),
        exits=Exits(
            "the files are right, warnings and notes aside",
            "a correction cannot be written",
            "a file or a flag is wrong, a page is of no known engine, or a correction is not written",
        ),
    )
    flags.config(verb, "configuration in YAML", required=True)
    flags.web_config(verb)
    verb.add_argument(
        "--page",
        type=Path,
        metavar="FILE",
        help="page of metrics of a server, saved with curl: print what is read from it",
    )
    verb.add_argument("--json", action="store_true", help="print the result or the errors as JSON")
    verb.add_argument("--fix", action="store_true", help="show known corrections, as a diff")
    verb.add_argument(
        "--write", action="store_true", help="with --fix, write them; the file keeps its mode and its owner"
    )
    verb.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print what a configuration results in, or its corrections; returns the exit status."""
    if options.write and not options.fix:
        options.parser.error("--write goes with --fix")
    if options.fix:
        if options.json or options.web_config_file is not None or options.page is not None:
            options.parser.error("--fix corrects --config.file alone, without --json and --page")
        code = fixed(options.config_file, write=options.write)
        if code is not None:
            return code
    return checked(options.config_file, options.web_config_file, options.page, as_json=options.json)


def checked(
    config_file: Path, web_config_file: Path | None = None, page: Path | None = None, *, as_json: bool
) -> int:
    """Print the result of a configuration and of a web configuration; returns 0, or 2 if one is wrong."""
    clock = SystemClock()
    access = Access(web_config_file, clock)
    status, text = check_config(config_file, clock.wall(), access, page=page, as_json=as_json)
    # Errors go to standard error, except as JSON: a program reads one answer in one place.
    if status == 0 or as_json:
        write_colored(text if as_json else fitted(text, columns()))
    else:
        complain(text.removesuffix("\n"))
    if not as_json and _is_correctable(config_file):
        write_colored("note: add --fix to see the corrections, and --write to make them\n", sys.stderr)
    return status


def _is_correctable(path: Path) -> bool:
    """Whether `--fix` has anything to show."""
    try:
        before, after, problems = read_corrected(path)
        return after != before or (not problems and with_gpu_models(after, path, ()) != after)
    except ConfigError:
        return False
