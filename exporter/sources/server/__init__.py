"""Inference servers, each read at its own endpoint over HTTP.

An endpoint is hostile until proven otherwise: bounded bodies, expanded or not, one deadline, no redirects.
"""

from exporter.sources.server.about import About
from exporter.sources.server.client import lean_client
from exporter.sources.server.gateway import GatewaySource
from exporter.sources.server.recognition import repeated
from exporter.sources.server.source import ServerSource

__all__ = ["About", "GatewaySource", "ServerSource", "lean_client", "repeated"]
