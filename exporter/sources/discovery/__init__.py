"""Discovery of servers and of the GPUs that they hold, by processes, pods and configuration.

`naming` finds tenants and names their servers, `allocation` their GPUs; `servers` adds where each is read.
`discovery` does it at each tick, and keeps what a source reported while it fails.
"""

from exporter.sources.discovery.discovery import Discovery, discovery
from exporter.sources.discovery.servers import DiscoveredServer, DiscoveryResult
