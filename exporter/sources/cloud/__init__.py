"""Location of this host, by which it is priced: cloud, instance type, region, zone and lifecycle.

`metadata` requests the services of clouds; `source` reads firmware and metadata, and adds node labels.
"""

from exporter.sources.cloud.source import CloudSource, located
