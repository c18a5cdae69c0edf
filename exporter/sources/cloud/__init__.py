"""Location of this host, by which it is priced: cloud, instance type, region, zone and lifecycle.

`metadata` requests the services of clouds. `source` reads firmware and metadata, adds node labels, and reads
the notice that ends a spot host.
"""

from exporter.sources.cloud.source import RENEWAL, CloudSource, MergedLocation, NoticeSource, merge_labels
