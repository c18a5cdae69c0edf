"""Inference servers and gateways, each read at its own endpoint over HTTP.

An endpoint is not trusted: bounded bodies, expanded or not, one deadline, no redirects.
"""

from exporter.sources.http_client import shared_client
from exporter.sources.server.gateway import GatewaySource
from exporter.sources.server.page_reader import KnownEngines, ServerContext, Target, repeated
from exporter.sources.server.source import ServerSource
