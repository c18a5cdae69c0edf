"""The table of docs/ledger.md: the tables of the ledger's file, with the columns of the schema."""

import sqlite3
from typing import Final

from exporter.ledger.schema import DDL, TABLES
from generators.tables import table

ALWAYS: Final = "always"
HISTORY: Final = "history"
OWN_COLUMNS: Final = ("label", "owner", "gpu", "state", "unpriced_range", "adjustment", "meta")
"""Tables whose meaning names their columns."""

MEANINGS: Final = {
    "label": ("each label value once: id and text", ALWAYS),
    "owner": ("owner of cost: product, team, namespace, server, model, by integer id", ALWAYS),
    "gpu": ("uuid and gpu_model, by integer id", ALWAYS),
    "cost": ("cost by owner and phase", ALWAYS),
    "held": ("chargeable GPU time ([GPU-hours](cost-model.md#gpu-hours))", ALWAYS),
    "server_cost": ("cost of servers by component", ALWAYS),
    "gpu_cost": ("cost of GPUs by component", ALWAYS),
    "tokens": ("tokens by kind", ALWAYS),
    "requests": ("requests", ALWAYS),
    "preemptions": ("preempted requests", ALWAYS),
    "equivalents": ("hosted equivalent by reference", ALWAYS),
    "latencies": ("observed latencies by objective, and those within it", ALWAYS),
    "energy": ("energy of GPUs", ALWAYS),
    "unpriced": ("time that had no price when it passed, by the owner that held the GPU", ALWAYS),
    "months": ("posted cost and adjustments of each month", ALWAYS),
    "minute_cost": ("cost by the minute since 1970 that it covers", "62 minutes"),
    "minute_latencies": ("the same by the minute in which their tick ended", "62 minutes"),
    "minute_tokens": ("tokens by the minute, spread over their tick", "62 minutes"),
    "hour_cost": ("cost of products by hour since 1970", "40 days"),
    "hour_covered": ("wall time that ticks covered, once for all products", "40 days"),
    "hour_usage": ("GPU time by product", "26 hours"),
    "hour_energy": ("energy by product", "26 hours"),
    "hour_down": ("wall time without hourly rent", "26 hours"),
    "first_held": ("instant at which a product first held a GPU, in nanoseconds since 1970", ALWAYS),
    "hourly_cost": ("cost by the time that it covers", HISTORY),
    "hourly_held": ("chargeable GPU time", HISTORY),
    "hourly_server_cost": ("cost of servers by component and price basis", HISTORY),
    "hourly_gpu_cost": ("cost of GPUs by component", HISTORY),
    "hourly_gpu_held": ("time that passed", HISTORY),
    "hourly_gpu_unowed": ("the part of `gpu_held` that is not chargeable; the rest equals `held`", HISTORY),
    "hourly_tokens": ("tokens by their tick's end, or over a longer time since the last read", HISTORY),
    "hourly_unpriced": ("time that had no price when it passed, by its holder", HISTORY),
    "hourly_settled": ("the part of `unpriced` charged since", HISTORY),
    "hourly_gpu_down": ("time that costs no hourly rent, or would not at an hourly rent", HISTORY),
    "hourly_owner_held": (
        "time that passed and is not unpriced; a later price change is corrected by it",
        HISTORY,
    ),
    "hourly_owner_down": ("the part of `owner_held` that is in `gpu_down`", HISTORY),
    "hourly_memory": ("most GPU memory that a server held on a GPU", "40 days"),
    "daily_covered": ("wall time that ticks covered", HISTORY),
    "unpriced_range": (
        (
            "a GPU's unpriced time in one hour: day, gpu, first and last instant; `hourly_only`: nothing but"
            " hourly rent is charged (time since a boot)"
        ),
        "until charged, at most 13 months",
    ),
    "unpriced_use": (
        "unpriced time by range, owner and phase; `up` is the part that costs hourly rent",
        "with its range",
    ),
    "last_token": ("instant of the last token, in nanoseconds since 1970", ALWAYS),
    "changed": ("instant of the last change; the list of all owners", ALWAYS),
    "state": (
        (
            "JSON by scope (`gpu`, `unseen`, `endpoint`, `gateway`, `server`, `owner`, `clock`, `inventory`)"
            " and key: marks, carries, trailing ratios"
        ),
        "while it is watched",
    ),
    "adjustment": (
        (
            "[corrections](#correct-a-month): day, product, team, picodollars, reason, instant entered,"
            " instant posted, kind (`manual`; `repricing`, see"
            " [Correct posted money](daemon.md#correct-posted-money)) and the key of a repricing"
        ),
        ALWAYS,
    ),
    "meta": (
        (
            "id, accrued cost, last tick and commit, number of commits (`commits`), machine, time zone of the"
            " last tick (`timezone`), last adoption, boot of which it is the first ledger (`fresh_in`),"
            " schema's `reader`"
        ),
        ALWAYS,
    ),
}
"""What each table holds, and for how long; of a pair by hour and by day the first."""


def documented(tables: frozenset[str]) -> set[str]:
    """The tables that have a row of their own: one for a pair by hour and by day."""
    pairs = {f"daily_{name.removeprefix('hourly_')}" for name in tables if name.startswith("hourly_")}
    return set(tables - pairs)


def tables() -> str:
    """The table of the ledger's tables: key and value columns, meaning and retention.

    Raises:
        ValueError: a table is not described, or is described and not there.
    """
    if documented(TABLES) != set(MEANINGS):
        raise ValueError(f"docs/generators/ledger.py: describe {documented(TABLES) ^ set(MEANINGS)}")
    connection = sqlite3.connect(":memory:")
    for statement in DDL:
        connection.execute(statement)
    rows = []
    for name, (meaning, retention) in MEANINGS.items():
        columns = [(row[1], bool(row[5])) for row in connection.execute(f"PRAGMA table_info({name})")]
        key = ", ".join(column for column, is_key in columns if is_key)
        value = ", ".join(f"`{column}`" for column, is_key in columns if not is_key)
        names = f"`{name}`"
        daily = name.replace("hourly_", "daily_")
        if daily != name and daily in TABLES:
            names += f", `{daily}`"
            key = key.replace("hour", "hour or day", 1)
        if name in OWN_COLUMNS:
            key = value = ""
        rows.append((names, key, value, meaning, retention))
    connection.close()
    return table(("table", "key", "value", "meaning", "kept"), rows)


REGIONS: Final = {("ledger.md", "tables"): tables}
"""The function for each region, by page and name."""
