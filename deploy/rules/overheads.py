"""Overheads of the whole fleet (`per: fleet`), which are in no host's figures."""

from typing import Final

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


OVERHEADS: Final = f"""\
rules inference-overheads every 1m: Overheads of the fleet
record {AMOUNT} (): Overheads of the whole fleet, in no host's cost.
# Every host of every cluster exports the same amount, so each component counts once; while a change is rolled
# out, the largest amount counts.
sum(max by (component) ({AMOUNT}:component))
record inference:gpus (): GPUs in use or idle, shares of one added up.
sum({GPUS})
record inference:fleet_overhead_dollars_per_gpu_hour (): The same by GPU-hour.
{AMOUNT} / on () (inference:gpus > 0)
record {AMOUNT}:owner (product, team): The same by owner, spread by GPUs.
sum by (product, team) ({GPUS})
* on () group_left () inference:fleet_overhead_dollars_per_gpu_hour
record inference:fleet_overhead_dollars_per_million_tokens:1h (cluster, model): The same per million tokens of a model, over 1h.
{per_million("1h")}
record inference:fleet_overhead_dollars_per_million_tokens:24h (cluster, model): The same per million tokens of a model, over 24h.
{per_million("1d")}
"""
