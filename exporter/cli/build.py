"""Build of this exporter, and the host it runs on."""

import os
import shlex
import socket
import sys
from pathlib import Path

from exporter.report import Build
from exporter.version import REVISION, VERSION


def build() -> Build:
    """Version, revision and Python."""
    return Build(VERSION, REVISION, sys.version.split()[0])


def lists_all_gpus() -> bool:
    """Whether NVML lists all GPUs of the machine here, by the setting of the container's runtime."""
    return os.environ.get("NVIDIA_VISIBLE_DEVICES", "all").strip() == "all"


def host_name() -> str:
    """Host name for configuration patterns: in Kubernetes the node's, else the host's own."""
    return os.environ.get("NODE_NAME") or socket.gethostname()


def program_call() -> str:
    """The command that calls this program again, from any folder, as a shell reads it."""
    called = Path(sys.argv[0])
    if called.name != "__main__.py":
        return shlex.quote(str(called.absolute()))
    checkout = Path(__file__).parents[2]
    path = f"PYTHONPATH={shlex.quote(str(checkout))} " if os.path.isfile(checkout / "pyproject.toml") else ""
    return f"{path}{shlex.quote(sys.executable)} -m exporter"
