"""All engines, in the order in which a page is matched against them, and the commands that start them.

Every module of this folder is imported: an `Engine` or `Uncounted` under a public name is in the catalogue.
"""

import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Final, TypeAlias

from exporter.engines.exposition import Page, WantedSeries
from exporter.engines.gateways import GATEWAYS, GatewaySpec
from exporter.engines.spec import Command, Engine, Uncounted, wanted

USERS: Final = frozenset({"catalogue", "launch"})
"""Modules of this folder that use the catalogue. They define no engine and are not imported here."""

MATCH_ORDER: Final = (
    "dynamo-frontend",
    "dynamo",
    "triton",
    "vllm-omni",
    "vllm",
    "ray",
    "sglang",
    "tgi",
    "tei",
    "trtllm",
    "llamacpp",
    "lmdeploy",
    "aphrodite",
    "localai",
    "nim",
    "mlc",
    "kserve",
)
"""Engines that are matched first, in this order: one whose page looks like another's comes before it, and one
whose page may contain another's after it. All others follow by name."""

MATCHED_LAST: Final = ("infinity",)
"""Engines whose names other programs write too."""


def _described() -> Iterator[Engine | Uncounted]:
    """The engines that the modules of this folder define; one that another module imports comes twice."""
    for module in sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py")):
        if module not in USERS:
            members = vars(import_module(f"{__package__}.{module}"))
            yield from (
                value
                for name, value in members.items()
                if isinstance(value, Engine | Uncounted) and not name.startswith("_")
            )


def _match_key(engine: Engine) -> tuple[int, str]:
    if engine.name in MATCH_ORDER:
        return MATCH_ORDER.index(engine.name), ""
    return len(MATCH_ORDER) + (engine.name in MATCHED_LAST), engine.name


_DESCRIBED: Final = {row.name: row for row in _described()}

ENGINES: Final = {
    engine.name: engine
    for engine in sorted((row for row in _DESCRIBED.values() if isinstance(row, Engine)), key=_match_key)
}
"""Engines by name, in the order of matching."""

UNCOUNTED_SERVERS: Final = {row.name: row for row in _DESCRIBED.values() if isinstance(row, Uncounted)}
"""Servers without a page of metrics, by name."""

COMMANDS: Final[tuple[tuple[str, Command], ...]] = tuple(
    (name, command) for name, row in _DESCRIBED.items() for command in row.commands
)
"""The commands that start each engine, by its name. No two have a program or a module in common."""

ROWS: Final[tuple[Engine | GatewaySpec, ...]] = (*GATEWAYS, *ENGINES.values())
"""Gateways and engines. The first match wins."""

EVERYTHING: Final = WantedSeries(
    {name for row in ROWS for name in row.fingerprint.names}.union(
        *(wanted(engine).names for engine in ENGINES.values())
    )
)
"""The names for recognition, and for reading any engine."""

TALLIED: Final = WantedSeries(
    EVERYTHING.names.union(
        *(
            {*gateway.shares.names, *gateway.shares.created_names}
            for gateway in GATEWAYS
            if gateway.shares is not None
        )
    )
)
"""The names for recognition, and for reading any gateway."""


Described: TypeAlias = tuple[Engine, ...]
"""Engines that the configuration describes. The built-in rows win a match."""


def described(name: str, engines: Described = ()) -> Engine | None:
    """The engine of a name, built in or described; `None` for an unknown one."""
    return ENGINES.get(name) or next((engine for engine in engines if engine.name == name), None)


@cache
def everything(engines: Described) -> WantedSeries:
    """`EVERYTHING`, and the names of described engines."""
    if not engines:
        return EVERYTHING
    return WantedSeries(EVERYTHING.names.union(*(wanted(engine).names for engine in engines)))


def match(page: Page, engines: Described = ()) -> Engine | GatewaySpec | None:
    """The row of a page that was read for `everything`; `None` for an unknown one."""
    return next((row for row in (*ROWS, *engines) if row.fingerprint.matches(page)), None)


def matches(page: Page, engines: Described) -> tuple[Engine | GatewaySpec, ...]:
    """The row of `match`, and the described engines that read the page where a server names them."""
    row = match(page, engines)
    others = (each for each in engines if each is not row and each.fingerprint.matches(page))
    return () if row is None else (row, *others)


def recognize(page: Page) -> Engine | None:
    """The engine of a page that was read for `EVERYTHING`; `None` for an unknown one or a gateway's."""
    row = match(page)
    return row if isinstance(row, Engine) else None


def announces(engine: Engine, body: bytes) -> bool:
    """Whether a page has the type of a family that identifies an engine, with or without series of it.

    Python's client library writes it from the start, and series with labels once they are used.
    """
    families = {re.sub("_(count|sum|total)$", "", name) for name in engine.fingerprint.names}
    return any(f"# TYPE {name} ".encode() in body for name in families.union(engine.fingerprint.names))


def mistaken_engine(body: bytes) -> Engine | None:
    """The engine that has this body as a page that must not be read, if any."""
    return next((engine for engine, pattern in _mistaken() if pattern.match(body)), None)


@cache
def _mistaken() -> tuple[tuple[Engine, re.Pattern[bytes]], ...]:
    return tuple(
        (engine, re.compile(engine.mistaken.encode(), re.DOTALL))
        for engine in ENGINES.values()
        if engine.mistaken
    )
