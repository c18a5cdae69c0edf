"""Where this host runs: its cloud, instance type, region, zone and lifecycle, by which it is priced.

`dmi` reads the firmware, `metadata` asks what `services` describes, `labels` understands a node's labels (who
reads them is another source), `spelling` refuses what no cloud would say. `source` is one read of all that,
`enquiry` the reads in the background.
"""

from exporter.sources.cloud.enquiry import Enquiry
from exporter.sources.cloud.labels import place_of
from exporter.sources.cloud.source import CloudSource

__all__ = ["CloudSource", "Enquiry", "place_of"]
