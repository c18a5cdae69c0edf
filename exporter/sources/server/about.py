"""What is known of a server beside what its endpoint says."""

from dataclasses import dataclass

from exporter.readings import Division, Role
from exporter.units import Instant


@dataclass(frozen=True, slots=True)
class About:
    """What is known of a server beside what its endpoint says.

    `identity` and `started` are of the process that listens, for pages that tell neither.
    `absent_at` is when it was last looked for and not there. `world_size` is how many GPUs work for it.
    `division` is by whose counts it is divided. `metrics_off`: its command line switches no metrics on, which
    a file or its environment may do, so that it is asked once.
    """

    pod: str = ""
    identity: str = ""
    started: Instant | None = None
    absent_at: Instant | None = None
    spans_hosts: bool = False
    role: Role = ""
    world_size: int | None = None
    division: Division | None = None
    metrics_off: bool = False
