"""Which exporter this is, and which host it runs on."""

import os
import platform
import socket

from exporter import __version__
from exporter.report import Build


def build() -> Build:
    """Version, revision and Python. The revision is stamped by whoever builds an image."""
    revision = os.environ.get("INFERENCE_COST_EXPORTER_REVISION", "")
    return Build(__version__, revision, platform.python_version())


def lists_all_gpus() -> bool:
    """Whether NVML lists all GPUs of the machine here, as far as the container's runtime was told."""
    return os.environ.get("NVIDIA_VISIBLE_DEVICES", "all").strip() == "all"


def host_name() -> str:
    """The host as configuration patterns know it: in Kubernetes the node, else the host name."""
    return os.environ.get("NODE_NAME") or socket.gethostname()
