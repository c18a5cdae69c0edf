"""What only the dashboards read: sums of series that are too many to be read each time a panel is drawn."""

from typing import Final

from month import OWNER, SERVER
from statement import Group, Record

MODEL: Final = f"{OWNER}, model"
HOST: Final = "cluster, instance"
GPU: Final = f"{HOST}, uuid, gpu_model"
"""Series of hosts are first taken `max by` these: two replicas or two jobs that scrape a host count once."""
NEW: Final = "5m"
"""How long a change is shown: longer than the steps of a graph of weeks."""


def price(ago: str = "") -> str:
    """What an hour of each GPU costs, by component; energy is left out where a change is looked for."""
    selector = f'{{component!="energy"}} offset {ago}' if ago else '{component!="energy"}'
    return f"max by ({GPU}, component) (inference_gpu_price_dollars_per_hour{selector})"


GPU_HOUR: Final = f"sum by ({GPU}) (max by ({GPU}, component) (inference_gpu_price_dollars_per_hour))"
FREE: Final = f"({GPU_HOUR} unless on ({HOST}, uuid) inference_server_gpu_share_ratio)"


def newly(info: str, label: str) -> str:
    """Hosts that show another value of a label than in the hour before; new hosts and restarts are none."""
    before = f"max by ({HOST}, {label}) (last_over_time({info}[1h] offset {NEW}))"
    return f"""
  (
    max by ({HOST}, {label}) ({info})
    unless on ({HOST}, {label}) {before}
  )
  and on ({HOST}) {before}
"""


MODELS: Final = Group(
    "inference-models",
    "1m",
    (
        Record(
            "inference:phase_dollars_per_hour:owner",
            f"3600 * sum by ({OWNER}, phase) (inference:phase_cost_dollars:rate5m)",
            "What the money is for, by product and team; dollars an hour.",
        ),
        Record(
            "inference:model_cost_dollars:rate5m",
            f'sum by ({MODEL}, phase) (inference:phase_cost_dollars:rate5m{{model!=""}})',
            "Dollars and tokens a second of each product's models.",
        ),
        Record("inference:model_tokens:rate5m", f"sum by ({MODEL}, kind) (inference:kind_tokens:rate5m)"),
        Record(
            "inference:model_hosted_dollars:rate5m",
            f"sum by ({MODEL}, reference) (max by ({HOST}, {SERVER.removeprefix('cluster, ')}, model, reference)"
            " (rate(inference_hosted_equivalent_dollars_total[5m])))",
            "What the same tokens would have cost at each hosted offer.",
        ),
        Record(
            "inference:model_cost_dollars:1h",
            "60 * sum_over_time(inference:model_cost_dollars:rate5m[1h])",
            "Dollars and tokens of the last hour. Sums, not means: a minute without a sample counts as nothing on both\n"
            "sides. x 60: this group's interval.",
        ),
        Record("inference:model_tokens:1h", "60 * sum_over_time(inference:model_tokens:rate5m[1h])"),
        Record(
            "inference:model_dollars_per_million_tokens:kind",
            f"max by ({MODEL}, kind)"
            ' (inference_cost_dollars_per_million_tokens{kind!~"all|computed",basis="full"})',
            "Cost per million tokens of each kind, as the hosts divide it; of several servers or hosts the dearest.",
        ),
    ),
)

BOARDS: Final = Group(
    "inference-boards",
    "1m",
    (
        Record(
            "inference:gpu_price_dollars_per_hour:model",
            f"sum by (cluster, gpu_model) ({GPU_HOUR})",
            "What an hour of all GPUs of a model costs, and how many have a price: their quotient is the mean.",
        ),
        Record("inference:gpus_priced:model", f"count by (cluster, gpu_model) ({GPU_HOUR})"),
        Record(
            "inference:gpus_unpriced",
            f"sum by (cluster) (1 - max by ({HOST}, uuid) (inference_gpu_priced))",
            "GPUs without a price.",
        ),
        Record(
            "inference:unallocated_dollars_per_hour:host",
            f"sum by ({HOST}, gpu_model) ({FREE})",
            "GPUs that no server holds: what they cost, and how many they are.",
        ),
        Record("inference:unallocated_gpus:host", f"count by ({HOST}, gpu_model) ({FREE})"),
        Record(
            "inference:gpus_repriced",
            f"count by (cluster, gpu_model, component) (\n  {price()}\n  != {price(NEW)}\n)",
            "What changed within five minutes: GPUs whose price did, and exporters whose configuration or version did.\n"
            "Energy is left out: its part of a price follows the watts.",
        ),
        Record(
            "inference:exporters_reconfigured",
            f"count by (cluster) ({newly('inference_config_info', 'hash')})",
        ),
        Record(
            "inference:exporters_upgraded",
            f"count by (cluster, version) ({newly('inference_exporter_info', 'version')})",
        ),
        Record(
            "inference:exporters",
            f"count by (cluster, version) (max by ({HOST}, version) (inference_exporter_info))",
            "Exporters that answer, by version.",
        ),
        Record(
            "inference:source_read_duration_seconds",
            "max by (cluster, source) (inference_source_read_duration_seconds)",
            "The longest read of each source, and its errors a second.",
        ),
        Record(
            "inference:source_errors:rate5m",
            f"sum by (cluster, source, reason) (max by ({HOST}, source, reason)"
            " (rate(inference_source_errors_total[5m])))",
        ),
    ),
)

IDLE_TIME: Final = "avg_over_time(inference:waste_dollars_per_hour:server[{window}])"
BUSY_TIME: Final = "avg_over_time(inference:busy_dollars_per_hour[{window}])"
UNUSED: Final = "12h"
"""A server that did nothing for so long is switched off. Longer than a night; change it with your days."""
NOTHING: Final = 0.999
"""Idle share from which a server did nothing: health checks make no request, and an answer takes seconds."""


def present(expr: str) -> str:
    """Only of servers that are still here."""
    return f"{expr}\nand on ({SERVER}) inference:cost_dollars_per_hour:server"


def day(mean: str, window: str = "1d") -> str:
    """A mean over a day, or over the shorter time for which there is a server."""
    return mean.format(window=window)


DAY: Final = Group(
    "inference-day",
    "10m",
    (
        Record(
            "inference:waste_dollars_per_hour:server_1d",
            present(day(IDLE_TIME)),
            "The mean of a day, or of the time for which a server has been here: idle, and idle and busy together, which is\n"
            "all that was observed.",
        ),
        Record(
            "inference:observed_dollars_per_hour:server_1d",
            present(f"({day(IDLE_TIME)} + {day(BUSY_TIME)})"),
        ),
        Record(
            "inference:server_tokens:rate1d",
            present("avg_over_time(inference:server_tokens:rate5m[1d])"),
        ),
        Record(
            "inference:server_last_token_timestamp_seconds",
            f"max by ({SERVER}) (inference_server_last_token_timestamp_seconds)",
            "When each server last served a token.",
        ),
        Record(
            "inference:unused_dollars_per_hour:server",
            f"""
inference:cost_dollars_per_hour:server{{server!="unallocated"}}
and on ({SERVER})
  (
    {day(IDLE_TIME, UNUSED)}
    / ({day(IDLE_TIME, UNUSED)} + {day(BUSY_TIME, UNUSED)} > 0)
    >= {NOTHING}
  )
and on ({SERVER}) inference:waste_dollars_per_hour:server offset {UNUSED}
""",
            "Servers that did nothing for 12 hours, and what they cost. By what their GPUs did, since some engines count no\n"
            "tokens.",
        ),
        Record(
            "inference:model_cost_dollars:1d",
            "60 * sum_over_time(inference:model_cost_dollars:rate5m[1d])",
            "Dollars and tokens of the last day, what the tokens would have cost at each hosted offer, and the mean load while\n"
            "there was one. x 60: the interval of what is added.",
        ),
        Record("inference:model_tokens:1d", "60 * sum_over_time(inference:model_tokens:rate5m[1d])"),
        Record(
            "inference:model_hosted_dollars:1d",
            "60 * sum_over_time(inference:model_hosted_dollars:rate5m[1d])",
        ),
        Record("inference:model_tokens:rate1d", "avg_over_time(inference:model_tokens:rate5m[1d])"),
    ),
    "Looks back on a day of every server, so not each minute: dashboards read the last value of 25 minutes.",
)
