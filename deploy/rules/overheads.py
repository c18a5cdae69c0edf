"""Overheads of the whole fleet (`per: fleet`), which are in no host's figures."""

from typing import Final

from statement import Group, Record

AMOUNT: Final = "inference:fleet_overhead_dollars_per_hour"
GPUS: Final = "max by (cluster, product, team) (inference:gpus:owner)"


def per_million(window: str) -> str:
    """Overheads that the model's GPUs bear, per million of its tokens."""
    return f"""
1e6 * max by (cluster, model) (sum_over_time(inference:model_gpus:rate5m[{window}])) / 60
  / (max by (cluster, model) (sum_over_time(inference:tokens:rate5m[{window}])) * 60 >= 1000)
  * on () group_left ()
    (
      sum_over_time({AMOUNT}[{window}])
      / on () (sum_over_time(inference:gpus[{window}]) > 0)
    )
"""


OVERHEADS: Final = Group(
    "inference-overheads",
    "1m",
    (
        Record(
            AMOUNT,
            f"sum(max by (component) ({AMOUNT}:component))",
            "Every host of every cluster exports the same amount, so each component counts once; while a change is rolled\n"
            "out, the largest amount counts.",
            meaning="Overheads of the whole fleet, in no host's cost.",
        ),
        Record("inference:gpus", f"sum({GPUS})", meaning="GPUs in use or idle, shares of one added up."),
        Record(
            "inference:fleet_overhead_dollars_per_gpu_hour",
            f"{AMOUNT} / on () (inference:gpus > 0)",
            meaning="The same by GPU-hour.",
        ),
        Record(
            f"{AMOUNT}:owner",
            f"sum by (product, team) ({GPUS})\n* on () group_left () inference:fleet_overhead_dollars_per_gpu_hour",
            meaning="The same by owner, spread by GPUs.",
            labels=("product", "team"),
        ),
        *(
            Record(
                f"inference:fleet_overhead_dollars_per_million_tokens:{name}",
                per_million(window),
                meaning=f"The same per million tokens of a model, over {name}.",
                labels=("cluster", "model"),
            )
            for name, window in (("1h", "1h"), ("24h", "1d"))
        ),
    ),
)
