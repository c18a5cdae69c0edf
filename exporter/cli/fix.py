"""`check-config --fix`: known corrections, as a diff, and written where that is told."""

import sys
from collections.abc import Iterator
from contextlib import closing
from difflib import unified_diff
from pathlib import Path

from exporter.cli import status
from exporter.cli.replacement import replace_file
from exporter.cli.status import VerbFailedError, with_exit_status
from exporter.cli.terminal import complain, write_colored
from exporter.clock import SystemClock
from exporter.config.corrections import read_corrected, with_gpu_models
from exporter.config.load import contents
from exporter.readings import MustRestartError, ReadFailedError
from exporter.sources.nvml.source import NvmlSource


@with_exit_status
def fixed(path: Path, *, write: bool) -> int | None:
    """Print the corrections of a file as a diff, and write them if told to; `None` if it has none.

    Returns 0 if the file is right now, 2 if it is not: problems remain, or nothing was written.
    """
    before, after, problems = read_corrected(path)
    if not problems:
        after = with_gpu_models(after, path, _gpus_here())
    if after == before:
        return None
    sys.stdout.write("".join(_diff(before, after, str(path))))
    if problems:
        complain("not corrected, by the lines of the corrected file:")
        complain("\n".join(problem.line(str(path)) for problem in problems))
    if not write:
        write_colored("note: nothing is written; add --write to correct the file\n", sys.stderr)
        return status.CONFIGURATION
    if contents(path) != before:
        raise VerbFailedError(f"{path}: has changed meanwhile; run the verb again")
    try:
        replace_file(path, after)
    except OSError as error:
        raise VerbFailedError(f"{path}: cannot be written: {error.strerror or error}") from error
    write_colored(f"{'ok' if not problems else 'note'}: {path} is written\n", sys.stderr)
    return status.CONFIGURATION if problems else status.OK


def _gpus_here() -> tuple[str, ...]:
    """The models of this host's GPUs, as NVML reports them; none where it cannot be read."""
    with closing(NvmlSource(SystemClock())) as nvml:
        try:
            return tuple(reading.gpu.gpu_model for reading in nvml.read())
        except (ReadFailedError, MustRestartError):
            return ()


def _diff(before: bytes, after: bytes, name: str) -> Iterator[str]:
    """Only changed lines: those around them may hold what no output should repeat."""
    old, new = (data.decode("utf-8").splitlines(keepends=True) for data in (before, after))
    for line in unified_diff(old, new, name, f"{name} (corrected)", n=0):
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
