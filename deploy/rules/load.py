"""How much of what servers could serve is in use, what the rest costs, and what a token would cost at full load."""

from typing import Final

from hosts import RATE, SERVER, UNIQUE
from tokens import SERVER_MODEL

LEAST: Final = 0.1
"""Below a tenth of the load, ten times as much is no extrapolation of it."""

GAUGE: Final = "inference_server_load_dollars_per_hour"
IN_USE: Final = "inference:server_load_dollars_per_hour"
SPEND: Final = "inference:server_spend_dollars_per_hour"
RATIO: Final = "inference:server_load_ratio:1h"

UNKNOWN: Final = f"""{RATE}{{server!="unallocated"}} > 0
  unless on ({SERVER_MODEL}, instance) {GAUGE}"""
"""Spend of hosts and models that have no load. Nothing is known of the load of a server with one."""


def of_servers(gauge: str) -> str:
    """Dollars an hour of a server over its hosts and models."""
    return f"sum by ({SERVER}) (max by ({SERVER_MODEL}, instance) ({gauge}) {UNIQUE})"


LOAD: Final = f"""\
rules inference-load every 1m: Load of servers
record inference:server_headroom_dollars_per_hour ({SERVER}): busy spend of the load that a server could add; idle spend comes on top
{of_servers("inference_server_headroom_dollars_per_hour")}
record {IN_USE} ({SERVER}): spend of the load in use; absent while a host or model of the server has no load
# A part of a server with an unknown load leaves all of it out: neither full nor empty.
{of_servers(GAUGE)}
unless on ({SERVER}) (
  {UNKNOWN}
)
record {SPEND} ({SERVER}): spend of a server, as the load in use is recorded
# Again in this group: an evaluation that is missed is missing from both sides of the ratio.
inference:cost_dollars_per_hour:server
record {RATIO} ({SERVER}): mean load over an hour, idle time included
# Weighed by dollars, so that a host counts by what it costs; known for nine minutes of ten.
avg_over_time({IN_USE}[1h])
  / (avg_over_time({SPEND}[1h]) > 0)
and on ({SERVER})
  count_over_time({IN_USE}[1h]) >= 0.9 * count_over_time({SPEND}[1h])
record inference:server_full_load_cost_dollars_per_million_tokens:1h ({SERVER}): a server's price over an hour, had it been full: the least that load can bring it to
# The same dollars over tokens / load: linear, where batches slow each sequence down. A lower bound.
inference:server_cost_dollars_per_million_tokens:1h * on ({SERVER}) ({RATIO} >= {LEAST})
"""
