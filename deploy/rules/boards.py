"""What only the dashboards read: sums of series that are too many to be read each time a panel is drawn."""

from typing import Final

from hosts import OWNER, OWNER_LABELS, SERVER, SERVER_LABELS, UNIQUE
from statement import Group, Record

MODEL: Final = f"{OWNER}, model"
MODEL_LABELS: Final = (*OWNER_LABELS, "model")
HOST: Final = "cluster, instance"
GPU: Final = f"{HOST}, uuid, gpu_model"
NEW: Final = "5m"
"""How long a change is shown: longer than the steps of a graph of weeks."""


def price(selector: str = "", ago: str = "") -> str:
    """What an hour of each GPU costs, by component."""
    offset = f" offset {ago}" if ago else ""
    return f"max by ({GPU}, component) (inference_gpu_price_dollars_per_hour{selector}{offset})"


CHANGEABLE: Final = '{component!="energy"}'
GPU_HOUR: Final = f"sum by ({GPU}) ({price()}) {UNIQUE}"
FREE: Final = f"({GPU_HOUR} unless on ({HOST}, uuid) inference_server_gpu_share_ratio)"


def newly(info: str, label: str) -> str:
    """Hosts that show another value of a label than in the hour before; new hosts and restarts are none."""
    before = f"max by ({HOST}, {label}) (last_over_time({info}[1h] offset {NEW}))"
    return f"""
  max by ({HOST}, {label}) ({info})
  unless on ({HOST}, {label}) {before}
  and on ({HOST}) {before}
"""


FINDING: Final = f"{SERVER}, kind, form"

MODELS: Final = Group(
    "inference-models",
    "1m",
    (
        Record(
            "inference:model_cost_dollars:rate5m",
            f'sum by ({MODEL}, phase) (inference:phase_cost_dollars:rate5m{{model!=""}})',
            "",
            "Dollars a second of each model.",
            (*MODEL_LABELS, "phase"),
        ),
        Record(
            "inference:model_tokens:rate5m",
            f"sum by ({MODEL}, kind) (inference:kind_tokens:rate5m)",
            "",
            "Tokens a second of each model.",
            (*MODEL_LABELS, "kind"),
        ),
        Record(
            "inference:model_hosted_dollars:rate5m",
            f"sum by ({MODEL}, reference) (\n"
            f"  max by ({SERVER}, instance, model, reference)"
            " (rate(inference_hosted_equivalent_dollars_total[5m]))\n"
            f"  {UNIQUE}\n)",
            "",
            "Dollars a second that the same tokens would have cost at each hosted offer.",
            (*MODEL_LABELS, "reference"),
        ),
        Record(
            "inference:model_dollars_per_million_tokens:kind",
            f"max by ({MODEL}, kind)"
            ' (inference_cost_dollars_per_million_tokens{kind!~"all|computed",basis="full"})',
            "",
            "Cost per million tokens of each kind, as the hosts divide it; of several servers and hosts the dearest.",
            (*MODEL_LABELS, "kind"),
        ),
    ),
)

LINES: Final = Group(
    "inference-lines",
    "4m",
    (
        Record(
            "inference:phase_dollars_per_hour:owner",
            f"3600 * sum by ({OWNER}, phase) (inference:phase_cost_dollars:rate5m)",
            "",
            "Spend by what the GPUs did for it.",
            (*OWNER_LABELS, "phase"),
        ),
        Record(
            "inference:waste_dollars_per_hour:server",
            f'3600 * sum by ({SERVER}) (inference:phase_cost_dollars:rate5m{{phase="idle"}})',
            "",
            "Idle spend of each server, of all three kinds.",
            SERVER_LABELS,
        ),
        Record(
            "inference:observed_dollars_per_hour:server",
            f'3600 * sum by ({SERVER}) (inference:phase_cost_dollars:rate5m{{phase!="unobserved"}})',
            "",
            "Spend of each server while it was observed, idle or busy.",
            SERVER_LABELS,
        ),
        Record(
            "inference:saving_dollars_per_month:server",
            f"sum by ({FINDING}) (\n  max by ({FINDING}, instance) (inference_saving_dollars_per_month)\n  {UNIQUE}\n)",
            "",
            "What could be saved in a month, by the findings of `advise`; form is cash or capacity.",
            (*SERVER_LABELS, "kind", "form"),
        ),
        Record(
            "inference:model_cost_dollars:1h",
            "60 * sum_over_time(inference:model_cost_dollars:rate5m[1h])",
            "Sums, not means: a minute without a sample counts as nothing in dollars and in tokens. x 60: the interval of what is added.",
            "Dollars of each model in the last hour.",
            (*MODEL_LABELS, "phase"),
        ),
        Record(
            "inference:model_tokens:1h",
            "60 * sum_over_time(inference:model_tokens:rate5m[1h])",
            "",
            "Tokens of each model in the last hour.",
            (*MODEL_LABELS, "kind"),
        ),
    ),
    "Hundreds of series that are drawn over weeks: what is recorded each minute is read for four times as long.\n"
    "Four minutes, since a query sees a sample for five.",
)

BOARDS: Final = Group(
    "inference-boards",
    "1m",
    (
        Record(
            "inference:gpu_price_dollars_per_hour:model",
            f"sum by (cluster, gpu_model) ({GPU_HOUR})",
            "",
            "Price of an hour of all GPUs of a model together.",
            ("cluster", "gpu_model"),
        ),
        Record(
            "inference:gpus_priced:model",
            f"count by (cluster, gpu_model) ({GPU_HOUR})",
            "",
            "GPUs of a model that have a price.",
            ("cluster", "gpu_model"),
        ),
        Record(
            "inference:gpus_unpriced",
            f"sum by (cluster) (1 - max by ({HOST}, uuid) (inference_gpu_priced) {UNIQUE})",
            "",
            "GPUs without a price.",
            ("cluster",),
        ),
        Record(
            "inference:unallocated_dollars_per_hour:host",
            f"sum by ({HOST}, gpu_model) {FREE}",
            "",
            "Price of an hour of a host's GPUs that no server holds.",
            ("cluster", "instance", "gpu_model"),
        ),
        Record(
            "inference:unallocated_gpus:host",
            f"count by ({HOST}, gpu_model) {FREE}",
            "",
            "GPUs of a host that no server holds.",
            ("cluster", "instance", "gpu_model"),
        ),
        Record(
            "inference:server_last_token_timestamp_seconds",
            f"max by ({SERVER}) (inference_server_last_token_timestamp_seconds)",
            "",
            "When each server last served a token.",
            SERVER_LABELS,
        ),
        Record(
            "inference:gpus_repriced",
            f"count by (cluster, gpu_model, component) (\n"
            f"  {price(CHANGEABLE)}\n  != {price(CHANGEABLE, NEW)}\n)",
            "Energy is left out: its part of a price follows the watts.",
            "GPUs whose price changed within five minutes.",
            ("cluster", "gpu_model", "component"),
        ),
        Record(
            "inference:exporters_reconfigured",
            f"count by (cluster) ({newly('inference_config_info', 'hash')})",
            "",
            "Exporters whose configuration changed within five minutes.",
            ("cluster",),
        ),
        Record(
            "inference:exporters_upgraded",
            f"count by (cluster, version) ({newly('inference_exporter_info', 'version')})",
            "",
            "Exporters whose version changed within five minutes.",
            ("cluster", "version"),
        ),
        Record(
            "inference:exporters",
            f"count by (cluster, version) (max by ({HOST}, version) (inference_exporter_info))",
            "",
            "Exporters that answer, by version.",
            ("cluster", "version"),
        ),
        Record(
            "inference:source_read_duration_seconds",
            "max by (cluster, source) (inference_source_read_duration_seconds)",
            "",
            "The longest read of each source.",
            ("cluster", "source"),
        ),
        Record(
            "inference:source_errors:rate5m",
            f"sum by (cluster, source, reason) (\n"
            f"  max by ({HOST}, source, reason) (rate(inference_source_errors_total[5m]))\n  {UNIQUE}\n)",
            "",
            "Errors a second of each source.",
            ("cluster", "source", "reason"),
        ),
    ),
)

IDLE: Final = "inference:waste_dollars_per_hour:server"
OBSERVED: Final = "inference:observed_dollars_per_hour:server"
UNUSED: Final = "12h"
"""A server that did nothing for so long is switched off. Longer than a night; change it with your days."""
NOTHING: Final = 0.999
"""Idle share from which a server did nothing: health checks make no request, and an answer takes seconds."""


def present(expr: str) -> str:
    """Only of servers that are still here."""
    return f"{expr}\nand on ({SERVER}) inference:cost_dollars_per_hour:server"


DAY: Final = Group(
    "inference-day",
    "10m",
    (
        Record(
            f"{IDLE}_1d",
            present(f"avg_over_time({IDLE}[1d])"),
            "",
            "Idle spend of each server: the mean of a day, or of the time for which it has been here.",
            SERVER_LABELS,
        ),
        Record(
            f"{OBSERVED}_1d",
            present(f"avg_over_time({OBSERVED}[1d])"),
            "",
            "Idle and busy spend of each server, likewise.",
            SERVER_LABELS,
        ),
        Record(
            "inference:server_tokens:rate1d",
            present("avg_over_time(inference:server_tokens:rate5m[1d])"),
            "",
            "Tokens a second of each server, likewise.",
            SERVER_LABELS,
        ),
        Record(
            "inference:unused_dollars_per_hour:server",
            f"""
inference:cost_dollars_per_hour:server{{server!="unallocated"}}
and on ({SERVER})
  (
    avg_over_time({IDLE}[{UNUSED}])
    / (avg_over_time({OBSERVED}[{UNUSED}]) > 0)
    >= {NOTHING}
  )
and on ({SERVER}) {IDLE} offset {UNUSED}
""",
            "By what its GPUs did, since some engines count no tokens.",
            "Spend of each server that did nothing for 12 hours.",
            SERVER_LABELS,
        ),
        Record(
            "inference:model_cost_dollars:1d",
            "60 * sum_over_time(inference:model_cost_dollars:rate5m[1d])",
            "x 60: the interval of what is added.",
            "Dollars of each model in the last day.",
            (*MODEL_LABELS, "phase"),
        ),
        Record(
            "inference:model_tokens:1d",
            "60 * sum_over_time(inference:model_tokens:rate5m[1d])",
            "",
            "Tokens of each model in the last day.",
            (*MODEL_LABELS, "kind"),
        ),
        Record(
            "inference:model_hosted_dollars:1d",
            "60 * sum_over_time(inference:model_hosted_dollars:rate5m[1d])",
            "",
            "Dollars that the same tokens would have cost at each hosted offer in the last day.",
            (*MODEL_LABELS, "reference"),
        ),
        Record(
            "inference:model_tokens:rate1d",
            "avg_over_time(inference:model_tokens:rate5m[1d])",
            "",
            "Tokens a second of each model: the mean of a day, or of the time for which it has been here.",
            (*MODEL_LABELS, "kind"),
        ),
    ),
    "Looks back on a day of every server, so not each minute: dashboards read the last value of 25 minutes.",
)
