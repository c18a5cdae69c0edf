"""Service level of servers: the share of requests within their objectives, and what tokens within them cost."""

from typing import Final

from hosts import NAMED, SERVER, UNIQUE
from load import UNKNOWN

OF_HOST: Final = "cluster, instance, namespace, server"
OBSERVED_BY: Final = f"{SERVER}, objective, basis"
"""Requests and tokens are never added up: an engine of which a new version counts the others has both."""

OBSERVED: Final = "inference:slo_observations:rate5m"
MET: Final = "inference:slo_met_observations:rate5m"
RATIO: Final = "inference:server_slo_met_ratio"
JOINT: Final = "inference:server_slo_met_all_ratio"
COUNT: Final = "inference:server_slo_observations"
TARGET: Final = "inference:slo_target_ratio"
LOAD: Final = "inference:server_load_ratio"
GPUS: Final = "inference:server_gpus:rate5m"

NOTHING: Final = "1e-9"
"""A share below it is none, whatever floating point leaves of a difference."""


def rate(counter: str, *labels: str) -> str:
    """Observations a second of each server, over its models and hosts; a target counts once."""
    by = ", ".join((OBSERVED_BY, *labels))
    return f"sum by ({by}) (max by ({by}, model, instance) (rate({counter}[5m])) {UNIQUE})"


def ratio(window: str) -> str:
    """The share of a window that met an objective. Sums, so that each observation counts alike."""
    return f"""
clamp_max(
  sum_over_time({MET}[{window}])
    / on ({OBSERVED_BY}) group_left ()
  (sum_over_time({OBSERVED}[{window}]) > 0),
  1
)
"""


def joint(window: str) -> str:
    """The share within all objectives. At worst no request missed both, at best the misses are the same ones.

    That holds of requests alone: a share of tokens says nothing of how many requests they are of. And it takes the
    share of every objective: one that the engine does not report may have been missed by all.
    """
    each = f"{RATIO}:{window}"
    return f"""
(
  label_replace(min by ({SERVER}) ({each}{{bound="upper"}}), "bound", "upper", "", "")
  or
  label_replace(clamp_min(1 - sum by ({SERVER}) (1 - {each}{{bound="lower"}}), 0), "bound", "lower", "", "")
)
and on ({SERVER}) (
  count by ({SERVER}) ({each}{{bound="upper"}})
  == on ({NAMED}) group_left ()
  count by ({NAMED}) ({TARGET})
)
unless on ({SERVER}) (
  {each}{{basis="tokens"}}
  and on ({SERVER}) count by ({SERVER}) ({each}{{bound="upper"}}) > 1
)
"""


def cost(window: str) -> str:
    """Dollars per million tokens within all objectives: the largest share gives the least."""
    price = f"inference:server_cost_dollars_per_million_tokens:{window}"
    share = f"{price} / on ({SERVER}) ({JOINT}:{window}"
    least = f'label_replace({share}{{bound="upper"}} > {NOTHING}), "bound", "lower", "", "")'
    most = f'label_replace({share}{{bound="lower"}} > {NOTHING}), "bound", "upper", "", "")'
    return f"\n{least}\nor\n{most}\n"


LEVELS: Final = f"""\
rules inference-service-level every 1m: Service level
record {OBSERVED} ({SERVER}, objective, basis): latencies observed per second: requests, or tokens where the engine has no histogram of requests
# One group: shares divide sums of its records over time, so a missed evaluation is missing on both sides.
{rate("inference_slo_observations_total")}
record {MET} ({SERVER}, objective, basis, bound): those within the objective, at least (`lower`) and at most (`upper`)
{rate("inference_slo_met_observations_total", "bound")}
record {RATIO}:1h ({SERVER}, objective, basis, bound): share of them within the objective, over an hour
{ratio("1h")}
record {RATIO}:24h ({SERVER}, objective, basis, bound): share of them within the objective, over a day
{ratio("1d")}
record {TARGET} (cluster, namespace, server, objective): share that should meet each configured objective
# A target that two jobs scrape has each series twice.
max by ({NAMED}, objective) (
  0 * inference_slo_objective_seconds
  + on ({OF_HOST}) group_left ()
  max by ({OF_HOST}) (inference_slo_target_ratio)
)
record {JOINT}:1h ({SERVER}, bound): share within all objectives of a server, of which only bounds are known, over an hour
# No histogram has both latencies of a request.
{joint("1h")}
record {COUNT}:1h ({SERVER}, objective, basis): how many, over an hour
60 * sum_over_time({OBSERVED}[1h])
record {COUNT}:24h ({SERVER}, objective, basis): how many, over a day
60 * sum_over_time({OBSERVED}[1d])
record inference:server_slo_cost_dollars_per_million_tokens:1h ({SERVER}, bound): a server's price over the share within all objectives, over an hour
# Assumes as many tokens per request within the objectives as outside.
{cost("1h")}
record {LOAD} ({SERVER}): highest load of a server's hosts, 0 to 1; absent where one of them has no known limit
# Full while requests wait: something that its page does not show holds them back. A host with an unknown load may
# be full, and leaves its server out.
(
  clamp_max(
    max by ({SERVER}) (inference_server_load_ratio)
    + (max by ({SERVER}) (inference_server_requests_waiting) > bool 0),
    1
  )
  or
  max by ({SERVER}) (inference_server_load_ratio)
)
unless on ({SERVER}) (
  {UNKNOWN}
)
record {GPUS} ({SERVER}): GPUs held, over all models
sum by ({SERVER}) (inference:party_gpus:rate5m)
"""
