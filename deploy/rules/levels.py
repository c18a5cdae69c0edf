"""Service level of servers: the share of requests within their objectives, and what tokens within them cost."""

from typing import Final

from hosts import SERVER, SERVER_LABELS, UNIQUE
from load import UNKNOWN
from statement import Group, Record

NAMED_LABELS: Final = ("cluster", "namespace", "server")
NAMED: Final = ", ".join(NAMED_LABELS)
OF_HOST: Final = "cluster, instance, namespace, server"
OBSERVED_LABELS: Final = (*SERVER_LABELS, "objective", "basis")
OBSERVED_BY: Final = ", ".join(OBSERVED_LABELS)
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
    least, most = (
        f'label_replace({price} / on ({SERVER}) ({JOINT}:{window}{{bound="{share}"}} > {NOTHING}), "bound", "{bound}", "", "")'
        for share, bound in (("upper", "lower"), ("lower", "upper"))
    )
    return f"\n{least}\nor\n{most}\n"


LEVELS: Final = Group(
    "inference-service-level",
    "1m",
    (
        Record(
            OBSERVED,
            rate("inference_slo_observations_total"),
            "One group: shares divide sums of its records over time, so a missed evaluation is missing on both sides.",
            meaning="latencies observed per second: requests, or tokens where the engine has no histogram of requests",
            labels=OBSERVED_LABELS,
        ),
        Record(
            MET,
            rate("inference_slo_met_observations_total", "bound"),
            meaning="those within the objective, at least (`lower`) and at most (`upper`)",
            labels=(*OBSERVED_LABELS, "bound"),
        ),
        *(
            Record(
                f"{RATIO}:{name}",
                ratio(window),
                meaning=f"share of them within the objective, over {span}",
                labels=(*OBSERVED_LABELS, "bound"),
            )
            for name, window, span in (("1h", "1h", "an hour"), ("24h", "1d", "a day"))
        ),
        Record(
            TARGET,
            f"""
max by ({NAMED}, objective) (
  0 * inference_slo_objective_seconds
  + on ({OF_HOST}) group_left ()
  max by ({OF_HOST}) (inference_slo_target_ratio)
)
""",
            "A target that two jobs scrape has each series twice.",
            meaning="share that should meet each configured objective",
            labels=(*NAMED_LABELS, "objective"),
        ),
        Record(
            f"{JOINT}:1h",
            joint("1h"),
            "No histogram has both latencies of a request.",
            meaning="share within all objectives of a server, of which only bounds are known, over an hour",
            labels=(*SERVER_LABELS, "bound"),
        ),
        *(
            Record(
                f"{COUNT}:{name}",
                f"60 * sum_over_time({OBSERVED}[{window}])",
                meaning=f"how many, over {span}",
                labels=OBSERVED_LABELS,
            )
            for name, window, span in (("1h", "1h", "an hour"), ("24h", "1d", "a day"))
        ),
        Record(
            "inference:server_slo_cost_dollars_per_million_tokens:1h",
            cost("1h"),
            "Assumes as many tokens per request within the objectives as outside.",
            meaning="a server's price over the share within all objectives, over an hour",
            labels=(*SERVER_LABELS, "bound"),
        ),
        Record(
            LOAD,
            f"""
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
""",
            "Full while requests wait: something that its page does not show holds them back. A host with an unknown load may\n"
            "be full, and leaves its server out.",
            meaning="highest load of a server's hosts, 0 to 1; absent where one of them has no known limit",
            labels=SERVER_LABELS,
        ),
        Record(
            GPUS,
            f"sum by ({SERVER}) (inference:party_gpus:rate5m)",
            meaning="GPUs held, over all models",
            labels=SERVER_LABELS,
        ),
    ),
)
