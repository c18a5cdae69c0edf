"""The wiring of `record`: reads one server as the daemon does, and writes what it says to a folder."""

import os
import shutil
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from exporter.cli import status
from exporter.cli.terminal import complain, progress
from exporter.clock import Clock, SystemClock
from exporter.readings import ReadFailedError
from exporter.reports.recording import MANIFEST, Recording
from exporter.sources.server.recording import RecordingReader
from exporter.units import Nanoseconds


@dataclass(frozen=True, slots=True)
class RecordOptions:
    """What is asked. Without an `engine` the page tells it."""

    url: str
    engine: str | None
    times: int
    every: Nanoseconds
    output: Path
    bearer_token_file: Path | None = None
    ca_file: Path | None = None


def record(question: RecordOptions, clock: Clock | None = None) -> int:
    """Record a server. An interruption from the keyboard ends it early, with what there is.

    Returns 0, 1 (the first read failed, or the folder cannot be written) or 2 (the URL, the engine or the
    folder is wrong).
    """
    clock = clock or SystemClock()
    output = question.output
    place = output.with_name(f"{output.name}.partial")
    try:
        onlooker = RecordingReader(
            question.url,
            clock,
            engine=question.engine,
            bearer_token_file=question.bearer_token_file,
            ca_file=question.ca_file,
        )
    except ValueError as error:
        return _refused(f"{error}", status.CONFIGURATION)
    recording = Recording(clock.wall())
    with onlooker:
        for path in (output, place):
            if os.path.lexists(path):
                return _refused(f"{path} exists already: name a folder that does not", status.CONFIGURATION)
        try:
            place.mkdir()
            _watch(question, clock, onlooker, recording, place)
            (place / MANIFEST).write_bytes(recording.manifest())
            place.rename(output)
        except ReadFailedError as failure:
            return _refused(f"{failure}", status.FAILED)
        except OSError as error:
            return _refused(f"{output} cannot be written: {error.strerror}", status.FAILED)
        finally:
            shutil.rmtree(place, ignore_errors=True)
    sys.stdout.write(
        f"{output} written: {recording.summary(question.times)}\nlook through it before you pass it on\n"
    )
    return status.OK


def _watch(
    question: RecordOptions, clock: Clock, onlooker: RecordingReader, recording: Recording, place: Path
) -> None:
    """Read at each interval, and write each page as it comes.

    Raises:
        ReadFailedError: the first read failed; later failures are part of the recording.
        OSError: a page cannot be written.
    """
    begun = clock.elapsed()
    try:
        for number in range(question.times):
            progress("reading", number, question.times)
            clock.wait(threading.Event(), begun + number * question.every - clock.elapsed())
            after = clock.elapsed() - begun
            try:
                look = onlooker.look()
            except ReadFailedError as failure:
                if number == 0:
                    raise
                recording.miss(failure, after)
                continue
            for name, content in recording.take(look, after):
                (place / name).write_bytes(content)
    except KeyboardInterrupt:
        if not recording.pages:
            raise
    finally:
        progress("reading", question.times, question.times)


def _refused(message: str, code: int) -> int:
    complain(message)
    return code
