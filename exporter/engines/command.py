"""What describes one way of starting an inference server; `commands` holds the rows.

Flags are written as their program documents them, with dashes; argument parsers of Python programs take
underscores too, so both spellings are read as one.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

Metrics: TypeAlias = Literal["on", "off", "configured", "never"]
"""Whether metrics are served where no flag says: `configured` is said in a file or an environment."""


@dataclass(frozen=True, slots=True)
class Factor:
    """One dimension of a server's world, by the number that its flags give, else one.

    `unless`: with one of these flags it counts once, since another dimension holds it or each rank has a page
    of its own. `narrow`: with one of these flags `narrowed` gives the number, since the page is of this host.
    `needed`: without its flags the world is not known. `alone`: above one it is not, for others divide by it.
    """

    flags: tuple[str, ...]
    unless: tuple[str, ...] = ()
    narrow: tuple[str, ...] = ()
    narrowed: tuple[str, ...] = ()
    needed: bool = False
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """One way in which an engine's API server is started.

    `programs` and `modules` are a program (a path where it begins with a slash), or a Python module, with the
    words that must follow it; `foreign` words that must not. `titles` and `workers` match the start of what a
    process calls itself: of an API server, and of processes that compute for one.
    `part` is a process that serves nothing itself and tells what the server does not.
    `host` is empty for all interfaces. `addresses` are flags that take host and port together.
    `metrics_next` are flags with which metrics are at the port after the API's.
    With `metrics_apart` they are not at the API's port unless a flag says where.
    A flag written `--name=value` counts only with that value.
    With `routes`, and no model, it is a router, which starts a server for each model.
    `models` are flags, best first; `files` those of them that take a path; `positional` the first free word.
    `world` is empty where the command line does not tell how many GPUs work for it.
    """

    engine: str
    programs: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    titles: tuple[str, ...] = ()
    workers: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    part: bool = False
    port: int | None = None
    ports: tuple[str, ...] = ("--port",)
    host: str = ""
    hosts: tuple[str, ...] = ("--host",)
    addresses: tuple[str, ...] = ()
    unix: tuple[str, ...] = ()
    tls: tuple[str, ...] = ()
    metrics: Metrics = "on"
    metrics_on: tuple[str, ...] = ()
    metrics_off: tuple[str, ...] = ()
    metrics_path: str = "/metrics"
    metrics_port: int | None = None
    metrics_ports: tuple[str, ...] = ()
    metrics_next: tuple[str, ...] = ()
    metrics_apart: bool = False
    models: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    positional: bool = False
    world: tuple[Factor, ...] = ()
    nodes: tuple[str, ...] = ("--nnodes",)
    ranks: tuple[str, ...] = ("--node-rank",)
    followers: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
