"""The one table of metrics: the only place where a metric is named.

Rendering, documentation, dashboards and rules derive from it.
"""

from typing import Final

from exporter.metrics import gpus, meter, money, servers, service_level
from exporter.metrics.metric import Metric, Row

__all__ = ["METRICS", "Metric", "Row"]

METRICS: Final[tuple[Metric, ...]] = money.ROWS + servers.ROWS + service_level.ROWS + gpus.ROWS + meter.ROWS
