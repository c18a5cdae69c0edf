"""What only the dashboards read: sums of series that are too many to be read each time a panel is drawn."""

from typing import Final

from hosts import OWNER, SERVER, UNIQUE

MODEL: Final = f"{OWNER}, model"
HOST: Final = "cluster, instance"
GPU: Final = f"{HOST}, uuid, gpu_model"
NEW: Final = "5m"
"""How long a change is shown: longer than the steps of a graph of weeks."""


def price(selector: str = "", ago: str = "") -> str:
    """What an hour of each GPU costs, by component."""
    offset = f" offset {ago}" if ago else ""
    return f"max by ({GPU}, component) (inference_gpu_price_dollars_per_hour{selector}{offset})"


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

MODELS: Final = f"""\
rules inference-models every 1m: Models, for the dashboards
record inference:model_cost_dollars:rate5m ({OWNER}, model, phase): Dollars a second of each model.
sum by ({MODEL}, phase) (inference:phase_cost_dollars:rate5m{{model!=""}})
record inference:model_tokens:rate5m ({OWNER}, model, kind): Tokens a second of each model.
sum by ({MODEL}, kind) (inference:kind_tokens:rate5m)
record inference:model_hosted_dollars:rate5m ({OWNER}, model, reference): Dollars a second that the same tokens would have cost at each hosted offer.
sum by ({MODEL}, reference) (
  max by ({SERVER}, instance, model, reference) (rate(inference_hosted_equivalent_dollars_total[5m]))
  {UNIQUE}
)
record inference:model_dollars_per_million_tokens:kind ({OWNER}, model, kind): Cost per million tokens of each kind, as the hosts divide it; of several servers and hosts the dearest.
max by ({MODEL}, kind) (inference_cost_dollars_per_million_tokens{{kind!~"all|computed",basis="full"}})
"""

LINES: Final = f"""\
rules inference-lines every 4m: What the dashboards draw over weeks
# Hundreds of series that are drawn over weeks: what is recorded each minute is read for four times as long.
# Four minutes, since a query sees a sample for five.
record inference:phase_dollars_per_hour:owner ({OWNER}, phase): Spend by what the GPUs did for it.
3600 * sum by ({OWNER}, phase) (inference:phase_cost_dollars:rate5m)
record inference:waste_dollars_per_hour:server ({SERVER}): Idle spend of each server, of all three kinds.
3600 * sum by ({SERVER}) (inference:phase_cost_dollars:rate5m{{phase="idle"}})
record inference:observed_dollars_per_hour:server ({SERVER}): Spend of each server while it was observed, idle or busy.
3600 * sum by ({SERVER}) (inference:phase_cost_dollars:rate5m{{phase!="unobserved"}})
record inference:saving_dollars_per_month:server ({SERVER}, kind, form): What could be saved in a month, by the findings of `advise`; form is cash or capacity.
sum by ({FINDING}) (
  max by ({FINDING}, instance) (inference_saving_dollars_per_month)
  {UNIQUE}
)
record inference:model_cost_dollars:1h ({OWNER}, model, phase): Dollars of each model in the last hour.
# Sums, not means: a minute without a sample counts as nothing in dollars and in tokens. x 60: the interval of what is added.
60 * sum_over_time(inference:model_cost_dollars:rate5m[1h])
record inference:model_tokens:1h ({OWNER}, model, kind): Tokens of each model in the last hour.
60 * sum_over_time(inference:model_tokens:rate5m[1h])
"""

BOARDS: Final = f"""\
rules inference-boards every 1m: Owners and hosts, for the dashboards
record inference:gpu_price_dollars_per_hour:model (cluster, gpu_model): Price of an hour of all GPUs of a model together.
sum by (cluster, gpu_model) ({GPU_HOUR})
record inference:gpus_priced:model (cluster, gpu_model): GPUs of a model that have a price.
count by (cluster, gpu_model) ({GPU_HOUR})
record inference:gpus_unpriced (cluster): GPUs without a price.
sum by (cluster) (1 - max by ({HOST}, uuid) (inference_gpu_priced) {UNIQUE})
record inference:unallocated_dollars_per_hour:host (cluster, instance, gpu_model): Price of an hour of a host's GPUs that no server holds.
sum by ({HOST}, gpu_model) {FREE}
record inference:unallocated_gpus:host (cluster, instance, gpu_model): GPUs of a host that no server holds.
count by ({HOST}, gpu_model) {FREE}
record inference:server_last_token_timestamp_seconds ({SERVER}): When each server last served a token.
max by ({SERVER}) (inference_server_last_token_timestamp_seconds)
record inference:gpus_repriced (cluster, gpu_model, component): GPUs whose price changed within five minutes.
# Energy is left out: its part of a price follows the watts.
count by (cluster, gpu_model, component) (
  {price('{component!="energy"}')}
  != {price('{component!="energy"}', NEW)}
)
record inference:exporters_reconfigured (cluster): Exporters whose configuration changed within five minutes.
count by (cluster) ({newly("inference_config_info", "hash")})
record inference:exporters_upgraded (cluster, version): Exporters whose version changed within five minutes.
count by (cluster, version) ({newly("inference_exporter_info", "version")})
record inference:exporters (cluster, version): Exporters that answer, by version.
count by (cluster, version) (max by ({HOST}, version) (inference_exporter_info))
record inference:source_read_duration_seconds (cluster, source): The longest read of each source.
max by (cluster, source) (inference_source_read_duration_seconds)
record inference:source_errors:rate5m (cluster, source, reason): Errors a second of each source.
sum by (cluster, source, reason) (
  max by ({HOST}, source, reason) (rate(inference_source_errors_total[5m]))
  {UNIQUE}
)
"""

IDLE: Final = "inference:waste_dollars_per_hour:server"
OBSERVED: Final = "inference:observed_dollars_per_hour:server"
UNUSED: Final = "12h"
"""A server that did nothing for so long is switched off. Longer than a night; change it with your days."""
NOTHING: Final = 0.999
"""Idle share from which a server did nothing: health checks make no request, and an answer takes seconds."""


DAY: Final = f"""\
rules inference-day every 10m: Means of a day, for the dashboards
# Looks back on a day of every server, so not each minute: dashboards read the last value of 25 minutes.
record {IDLE}_1d ({SERVER}): Idle spend of each server: the mean of a day, or of the time for which it has been here.
avg_over_time({IDLE}[1d])
and on ({SERVER}) inference:cost_dollars_per_hour:server
record {OBSERVED}_1d ({SERVER}): Idle and busy spend of each server, likewise.
avg_over_time({OBSERVED}[1d])
and on ({SERVER}) inference:cost_dollars_per_hour:server
record inference:server_tokens:rate1d ({SERVER}): Tokens a second of each server, likewise.
avg_over_time(inference:server_tokens:rate5m[1d])
and on ({SERVER}) inference:cost_dollars_per_hour:server
record inference:unused_dollars_per_hour:server ({SERVER}): Spend of each server that did nothing for 12 hours.
# By what its GPUs did, since some engines count no tokens.
inference:cost_dollars_per_hour:server{{server!="unallocated"}}
and on ({SERVER})
  (
    avg_over_time({IDLE}[{UNUSED}])
    / (avg_over_time({OBSERVED}[{UNUSED}]) > 0)
    >= {NOTHING}
  )
and on ({SERVER}) {IDLE} offset {UNUSED}
record inference:model_cost_dollars:1d ({OWNER}, model, phase): Dollars of each model in the last day.
# x 60: the interval of what is added.
60 * sum_over_time(inference:model_cost_dollars:rate5m[1d])
record inference:model_tokens:1d ({OWNER}, model, kind): Tokens of each model in the last day.
60 * sum_over_time(inference:model_tokens:rate5m[1d])
record inference:model_hosted_dollars:1d ({OWNER}, model, reference): Dollars that the same tokens would have cost at each hosted offer in the last day.
60 * sum_over_time(inference:model_hosted_dollars:rate5m[1d])
record inference:model_tokens:rate1d ({OWNER}, model, kind): Tokens a second of each model: the mean of a day, or of the time for which it has been here.
avg_over_time(inference:model_tokens:rate5m[1d])
"""
