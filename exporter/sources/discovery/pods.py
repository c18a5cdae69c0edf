"""What is known of a pod of this host, whoever told it."""

from dataclasses import dataclass, field
from typing import NamedTuple

from exporter.readings import Role


class ServerContainer(NamedTuple):
    """One container: its id as the runtime has it, and the words that it was started with."""

    id: str
    argv: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServerAnnotations:
    """What a pod's own annotations say of it, checked; empty where they say nothing.

    `port` and `path` say where its metrics are read, never at which host.
    """

    name: str = ""
    product: str = ""
    team: str = ""
    port: int | None = None
    path: str = ""
    role: Role = ""


@dataclass(frozen=True, slots=True)
class ServerPod:
    """One pod.

    `uids` are all it is known by: a static pod's cgroup has another one than the API.
    `live` is false for one whose containers have all ended. `spans_hosts`: it is one of a group of pods that
    serve together. `product` and `team` are what its labels say.
    """

    namespace: str
    name: str
    workload: str
    uids: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    live: bool = True
    containers: tuple[ServerContainer, ...] = ()
    product: str = ""
    team: str = ""
    spans_hosts: bool = False
    pod_annotations: ServerAnnotations = field(default_factory=ServerAnnotations)
