"""The verb `check-config`: validates a configuration, and a web configuration, at the present prices."""

import sys
from contextlib import suppress
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path

from exporter.cli import flags, status
from exporter.cli.flags import FlagError, flag, switch
from exporter.cli.replacement import replacing
from exporter.cli.status import VerbFailedError, writing
from exporter.cli.terminal import columns, complain, fitted, write_colored
from exporter.cli.verb import Exits, verb
from exporter.clock import SystemClock
from exporter.config import ConfigError
from exporter.config.load import contents, corrected
from exporter.reports.check_config import check_config
from exporter.web.access import Access


@dataclass(frozen=True, slots=True)
class CheckFlags:
    """The files to check, and whether to correct the configuration."""

    config_file: Path = flag(
        "--config.file", required=True, type=Path, metavar="FILE", help="configuration in YAML"
    )
    web_config_file: Path | None = flags.web_config_flag()
    page: Path | None = flag(
        "--page",
        type=Path,
        metavar="FILE",
        help="page of metrics of a server, saved with curl: print what is read from it",
    )
    as_json: bool = flags.json_flag("print the result or the errors as JSON")
    fix: bool = switch("--fix", "show known corrections, as a diff")
    write: bool = switch("--write", "with --fix, write them; the file keeps its mode and its owner")


@verb(
    "check-config",
    "validate a configuration file and print the prices it results in",
    examples=(
        ("--config.file=/etc/ice.yaml", "print each rule with its result, or the errors"),
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
    options=CheckFlags,
)
def check(options: CheckFlags) -> int:
    """Print what a configuration results in, or its corrections; returns the exit status."""
    if options.write and not options.fix:
        raise FlagError("--write goes with --fix")
    if options.fix:
        if options.as_json or options.web_config_file is not None or options.page is not None:
            raise FlagError("--fix corrects --config.file alone, without --json and --page")
        code = fixed(options.config_file, write=options.write)
        if code is not None:
            return code
    return checked(options.config_file, options.web_config_file, options.page, as_json=options.as_json)


def checked(
    config_file: Path, web_config_file: Path | None = None, page: Path | None = None, *, as_json: bool
) -> int:
    """Print the result of a configuration and of a web configuration; returns 0, or 2 if one is wrong."""
    clock = SystemClock()
    access = Access(web_config_file, clock)
    code, text = check_config(config_file, clock.wall(), access, page=page, as_json=as_json)
    # Errors go to standard error, except as JSON: a program reads one answer in one place.
    if code == status.OK or as_json:
        write_colored(text if as_json else fitted(text, columns()))
    else:
        complain(text.removesuffix("\n"))
    if not as_json:
        with suppress(ConfigError):
            before = contents(config_file)
            after, _ = corrected(before, config_file)
            if after != before:
                write_colored(
                    "note: add --fix to see the corrections, and --write to make them\n", sys.stderr
                )
    return code


def fixed(path: Path, *, write: bool) -> int | None:
    """Print the corrections of a file as a diff, and write them if told to; `None` if it has none.

    Returns 0 if the file is right now, 2 if it is not: problems remain, or nothing was written.
    """
    before = contents(path)
    after, problems = corrected(before, path)
    if after == before:
        return None
    old, new = (data.decode("utf-8").splitlines(keepends=True) for data in (before, after))
    # Only changed lines: those around them may hold what no output should repeat.
    for line in unified_diff(old, new, str(path), f"{path} (corrected)", n=0):
        sys.stdout.write(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n")
    if problems:
        complain("not corrected, by the lines of the corrected file:")
        complain("\n".join(problem.line(str(path)) for problem in problems))
    if not write:
        write_colored("note: nothing is written; add --write to correct the file\n", sys.stderr)
        return status.CONFIGURATION
    if contents(path) != before:
        raise VerbFailedError(f"{path}: has changed meanwhile; run the verb again")
    with writing(path), replacing(path, like_before=True) as file:
        file.write(after.decode())
    write_colored(f"{'ok' if not problems else 'note'}: {path} is written\n", sys.stderr)
    return status.CONFIGURATION if problems else status.OK
