"""Build of this exporter, and the host it runs on."""

import os
import platform
import socket

from exporter import __version__
from exporter.report import Build


def build() -> Build:
    """Version, revision and Python. The build of an image sets the revision."""
    revision = os.environ.get("INFERENCE_COST_EXPORTER_REVISION", "")
    return Build(__version__, revision, platform.python_version())


def lists_all_gpus() -> bool:
    """Whether NVML lists all GPUs of the machine here, by the setting of the container's runtime."""
    return os.environ.get("NVIDIA_VISIBLE_DEVICES", "all").strip() == "all"


def host_name() -> str:
    """Host name for configuration patterns: in Kubernetes the node's, else the host's own."""
    return os.environ.get("NODE_NAME") or socket.gethostname()
