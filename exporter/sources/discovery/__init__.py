"""Who holds which GPU, found out without being told: processes, pods and configuration, joined.

`tenants` tells who is there, `naming` what each is called, `holding` which GPUs they hold, `addresses` where
they are read; `joining` puts that together. `discovery` looks at each tick and remembers what it saw.
"""

from exporter.sources.discovery.discovery import Discovery, discovery
from exporter.sources.discovery.servers import DiscoveredServer, DiscoveryResult

__all__ = ["DiscoveredServer", "Discovery", "DiscoveryResult", "discovery"]
