"""Discovery of servers and of the GPUs that they hold, by processes, pods and configuration.

`tenants` joins processes, pods and devices; `naming` names their servers, `allocation` says who holds each
GPU, `endpoint_address` where a server is read, and `servers` joins these. `discovery` does it at each tick,
with the last answers of the sources (`answers`) and the targets of the last scan.
"""

from exporter.sources.discovery.discovery import Discovery, discovery
from exporter.sources.discovery.servers import DiscoveredServer, DiscoveryResult
