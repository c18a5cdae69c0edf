"""The verb `record`: reads one server as the daemon does, and writes its pages to a folder."""

import os
import shutil
import sys
import threading
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exporter.cli import flags, status
from exporter.cli.flags import flag
from exporter.cli.status import failing, writing
from exporter.cli.terminal import ProgressBar
from exporter.cli.verb import Exits, verb
from exporter.clock import Clock, SystemClock
from exporter.config import load
from exporter.config.problems import RefusedError
from exporter.readings import ReadFailedError
from exporter.reports.recording import MANIFEST, Recording
from exporter.sources.server.recording import RecordingReader
from exporter.units import NANOSECONDS_PER_HOUR, NANOSECONDS_PER_SECOND, Nanoseconds

TIMES_MAX: Final = 1000


@dataclass(frozen=True, slots=True)
class RecordOptions:
    """What to record. Without an `engine` it is recognized from the page."""

    url: str = flag("--url", required=True, metavar="URL", help="where its metrics are read")
    engine: str | None = flag(
        "--engine",
        metavar="NAME",
        help="engine name, see docs/engines.md (default: recognized from the page)",
    )
    times: int = flag(
        "--times",
        default=12,
        type=flags.count_value(TIMES_MAX, "number of reads: write one"),
        metavar="N",
        help=f"how often it is read, up to {TIMES_MAX} (default 12)",
    )
    every: Nanoseconds = flag(
        "--every",
        default=10 * NANOSECONDS_PER_SECOND,
        type=flags.duration_value(
            "smh",
            NANOSECONDS_PER_SECOND,
            NANOSECONDS_PER_HOUR,
            "interval: write one from 1s to 1h, like 10s or 5m",
        ),
        metavar="TIME",
        help="time from one read to the next, like 10s or 5m, up to 1h (default 10s)",
    )
    output: Path = flag(
        "--output", required=True, type=Path, metavar="FOLDER", help="the folder to make; it must not exist"
    )
    bearer_token_file: Path | None = flag(
        "--bearer-token-file", type=Path, metavar="FILE", help="bearer token file"
    )
    ca_file: Path | None = flag(
        "--ca-file", type=Path, metavar="FILE", help="CA certificates to verify the server"
    )
    config_file: Path | None = flags.file_flag(
        "--config.file", "configuration in YAML whose `engines` are read as well"
    )


@verb(
    "record",
    "write a server's pages over time to a folder, with names masked",
    examples=(
        ("--url=http://127.0.0.1:8000 --times=30 --every=10s --output=chat", "five minutes of a server"),
    ),
    exits=Exits(
        "written",
        "the first read failed, or the folder cannot be written",
        "the URL, the engine, the folder or a flag is wrong",
    ),
    options=RecordOptions,
)
def record(options: RecordOptions, clock: Clock | None = None) -> int:
    """Record a server until the last read or an interruption from the keyboard; returns the exit status."""
    clock = clock or SystemClock()
    engines = () if options.config_file is None else load(options.config_file).engines
    output = options.output
    temporary = output.with_name(f"{output.name}.partial")
    try:
        reader = RecordingReader(
            options.url,
            clock,
            engine=options.engine,
            bearer_token_file=options.bearer_token_file,
            ca_file=options.ca_file,
            described=engines,
        )
    except ValueError as error:
        raise RefusedError(str(error)) from error
    recording = Recording(clock.wall(), engines)
    with closing(reader):
        for path in (output, temporary):
            if os.path.lexists(path):
                raise RefusedError(f"{path} exists already: name a folder that does not")
        try:
            with failing(ReadFailedError), writing(output):
                temporary.mkdir()
                _watch(options, clock, reader, recording, temporary)
                (temporary / MANIFEST).write_bytes(recording.manifest())
                temporary.rename(output)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    sys.stdout.write(
        f"{output} written: {recording.summary(options.times)}\nlook through it before you pass it on\n"
    )
    return status.OK


def _watch(
    options: RecordOptions, clock: Clock, reader: RecordingReader, recording: Recording, folder: Path
) -> None:
    """Read at each interval, and write each page as it comes.

    Raises:
        ReadFailedError: the first read failed; later failures are part of the recording.
        OSError: a page cannot be written.
    """
    begun = clock.elapsed()
    try:
        with ProgressBar("reading", clock) as bar:
            for number in range(options.times):
                clock.wait(threading.Event(), begun + number * options.every - clock.elapsed())
                bar.show(number, options.times)
                after = clock.elapsed() - begun
                try:
                    look = reader.read()
                except ReadFailedError as failure:
                    if number == 0:
                        raise
                    recording.miss(failure, after)
                    continue
                for name, content in recording.take(look, after):
                    (folder / name).write_bytes(content)
    except KeyboardInterrupt:
        if not recording.pages:
            raise
