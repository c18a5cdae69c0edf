"""Inference servers, each read at its own endpoint over HTTP.

An endpoint is hostile until proven otherwise: bounded bodies, one deadline, no redirects, no decompression.
"""

from exporter.sources.server.client import lean_client
from exporter.sources.server.recognition import repeated
from exporter.sources.server.source import ServerSource

__all__ = ["ServerSource", "lean_client", "repeated"]
