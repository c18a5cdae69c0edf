"""What was found on a host, how, and what to write where it could not be told. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from exporter.reports.diagnosis import Finding
from exporter.sources.discovery import Found, Sight
from exporter.sources.discovery.naming import UNMATCHED, UNSEEN

CONFIGURED: Final = "the configuration names"
"""How a sight begins to say that it is read as the configuration says."""


def sight_lines(sights: Iterable[Sight], indices: Mapping[str, int]) -> Iterator[str]:
    """Lines for a terminal. `indices` are those of the GPUs, by UUID."""
    for sight in sights:
        name = f"{sight.key.namespace}/{sight.key.server}" if sight.key.namespace else sight.key.server
        what = [sight.engine or sight.program or "nothing that is seen"]
        if sight.model:
            what.append(f"model {sight.model}")
        if sight.where:
            what.append(f"in {sight.where}")
        yield f"  {name}  {', '.join(what)}  GPUs {_numbers(sight.gpus, indices) or 'none'}"
        yield f"       read at {sight.url}" if sight.url else f"       not read: {sight.lacking}"


def sight_findings(found: Found, indices: Mapping[str, int]) -> Iterator[Finding]:
    """What a person should know, or do, about what was found."""
    for source, problem in found.problems:
        yield Finding("warning", f"{source}: {problem}.")
    for source, problem in found.unasked:
        yield Finding("note", f"{source} are not asked for: {problem}.")
    if any(holder.key == UNSEEN for holder in found.holders):
        yield Finding(
            "warning",
            f"processes that cannot be seen compute on GPUs and are paid by `{UNSEEN.server}`. "
            "Give the exporter the host's processes: hostPID in Kubernetes, --pid=host in Docker.",
        )
    for sight in found.sights:
        if sight.refused:
            yield Finding("warning", f"server {sight.key.server}: {sight.refused}.")
        if not sight.gpus or sight.lacking.startswith(CONFIGURED):
            continue
        held = f"GPU{'s' * (len(sight.gpus) > 1)} {_numbers(sight.gpus, indices)}"
        if sight.key.server.startswith(UNMATCHED):
            yield Finding(
                "note",
                f"{sight.key.server} holds {held}, is no inference server that is known, and carries its "
                f"dollars. To name it: `servers: [{{match: {_match(sight)}, name: NAME}}]`.",
            )
        elif not sight.url and sight.engine:  # what has a name and no engine serves nobody
            yield Finding(
                "warning",
                f"server {sight.key.server} holds {held}, and its tokens are not counted: {sight.lacking}.",
            )
    if found.refused:
        yield Finding(
            "warning",
            f"{found.refused} pods ask by annotation for the name of another workload; they keep their own.",
        )


def _match(sight: Sight) -> str:
    if sight.key.namespace:
        workload = sight.key.server.removeprefix(UNMATCHED)
        return f'{{workload: "{sight.key.namespace}/{workload}"}}'
    return f'{{process: "{sight.program}"}}'


def _numbers(uuids: Sequence[str], indices: Mapping[str, int]) -> str:
    """The indices of GPUs, in order; a UUID where one has none."""
    told = sorted(indices[uuid] for uuid in uuids if uuid in indices)
    return ", ".join([*map(str, told), *(uuid for uuid in uuids if uuid not in indices)])
