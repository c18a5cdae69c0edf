"""What was found on a host, how, and what to write where it could not be told. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from exporter.readings import UnreadReason
from exporter.reports.diagnosis import Finding
from exporter.sources.discovery import Found, Sight
from exporter.sources.discovery.naming import UNMATCHED, UNSEEN


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
        yield f"       read at {sight.url}" if sight.url else f"       {_not_read(sight.skip_reason)}"


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
        if not sight.gpus or sight.skip_reason is UnreadReason.CONFIGURED:
            continue
        if sight.key.server.startswith(UNMATCHED):
            yield Finding(
                "note",
                f"{sight.key.server} holds {_held(sight.gpus, indices)}, is no inference server that is "
                "known, and carries its dollars. To name it: "
                f"`servers: [{{match: {_match(sight)}, name: NAME}}]`.",
            )
    yield from _unread(found, indices)
    if found.refused:
        yield Finding(
            "warning",
            f"{found.refused} pods ask by annotation for the name of another workload; they keep their own.",
        )


def _not_read(reason: UnreadReason | None) -> str:
    """Why a server is not read; a reason of the metric stands there as its label has it."""
    if reason is None:
        return "not read"
    return f"not read ({reason}): {reason.problem}" if reason.remedy else f"not read: {reason.problem}"


def _unread(found: Found, indices: Mapping[str, int]) -> Iterator[Finding]:
    """Servers that should be read, each once with what to do."""
    for key, reason in dict.fromkeys((one.key, one.reason) for one in found.unread):
        gpus = [gpu for sight in found.sights if sight.key == key for gpu in sight.gpus]
        held = f"holds {_held(tuple(dict.fromkeys(gpus)), indices)}, and its tokens are not counted"
        state = held if gpus else "is not read"
        yield Finding("warning", f"server {key.server} {state}: {reason.problem}. {reason.remedy}.")


def _held(uuids: Sequence[str], indices: Mapping[str, int]) -> str:
    return f"GPU{'s' * (len(uuids) > 1)} {_numbers(uuids, indices)}"


def _match(sight: Sight) -> str:
    if sight.key.namespace:
        workload = sight.key.server.removeprefix(UNMATCHED)
        return f'{{workload: "{sight.key.namespace}/{workload}"}}'
    return f'{{process: "{sight.program}"}}'


def _numbers(uuids: Sequence[str], indices: Mapping[str, int]) -> str:
    """The indices of GPUs, in order; a UUID where one has none."""
    told = sorted(indices[uuid] for uuid in uuids if uuid in indices)
    return ", ".join([*map(str, told), *(uuid for uuid in uuids if uuid not in indices)])
