"""What a look at a host found."""

from dataclasses import dataclass

from exporter.readings import Holder, Owned
from exporter.sources.endpoints import Target
from exporter.sources.gather import Gathered


@dataclass(frozen=True, slots=True)
class Found:
    """Who holds which GPU, where each server is read, and who pays as their labels say.

    `unsure` are GPUs of which nobody could tell who holds them this time.
    `gathered` is how the sources fared that were asked for it.
    """

    holders: tuple[Holder, ...] = ()
    unsure: frozenset[str] = frozenset()
    owners: tuple[Owned, ...] = ()
    targets: tuple[Target, ...] = ()
    gathered: tuple[Gathered, ...] = ()
