"""Where this host runs: its cloud, instance type, region, zone and lifecycle, by which it is priced.

`dmi` reads the firmware, `metadata` asks what `services` describes, `labels` understands a node's labels (who
reads them is another source), `spelling` refuses what no cloud would say. `source` is one read of firmware
and metadata, `location` what all of them come to.
"""

from exporter.sources.cloud.location import located
from exporter.sources.cloud.source import CloudSource

__all__ = ["CloudSource", "located"]
