"""What a look at a host found."""

from dataclasses import dataclass

from exporter.readings import Holder, Owned, ServerKey, UnreadReason, UnreadServer
from exporter.sources.endpoints import Target
from exporter.sources.gather import Gathered


@dataclass(frozen=True, slots=True)
class Sight:
    """One server, or other holder, as it was found; for people.

    `gpus` are the UUIDs of the GPUs that it holds a part of. `url` is where it is read, empty where it is
    not: `skip_reason` then says why. `rule` is the entry of `servers` that matched it. `refused`
    is a name, an address or an entry that it claims and does not get.
    """

    key: ServerKey
    engine: str = ""
    model: str = ""
    program: str = ""
    where: str = ""
    gpus: tuple[str, ...] = ()
    url: str = ""
    skip_reason: UnreadReason | None = None
    rule: str = ""
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """Who holds which GPU, where each server is read, and who pays as their labels say.

    `unsure` are GPUs of which nobody could tell who holds them this time.
    `unread` are the servers that should be read and are not.
    `gathered` is how the sources fared that were asked for it.
    `refused` counts pods that asked for the name of another workload.
    `problems` are sources that said less than they should, and why, for people; `unasked` those of which
    nobody said that they should, and that may not ask.
    `blind`: processes could not be looked at, or pods not asked for: which servers are here is not known.
    """

    holders: tuple[Holder, ...] = ()
    unsure: frozenset[str] = frozenset()
    owners: tuple[Owned, ...] = ()
    targets: tuple[Target, ...] = ()
    gathered: tuple[Gathered, ...] = ()
    sights: tuple[Sight, ...] = ()
    unread: tuple[UnreadServer, ...] = ()
    refused: int = 0
    blind: bool = False
    problems: tuple[tuple[str, str], ...] = ()
    unasked: tuple[tuple[str, str], ...] = ()
