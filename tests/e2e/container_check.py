"""Runs inside a container of our image: `contents` or `readiness`; prints what was found as JSON."""

import http.client
import importlib.metadata
import importlib.util
import json
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator

OURS = "/opt/inference-cost-exporter"
BUILDERS = ("cc", "gcc", "c++", "clang", "ld", "as", "make", "pip", "pip3")
UNCHECKED = b"\1\0\0\0"
"""The flags of bytecode that holds whatever its source's time or contents are (PEP 552)."""


def files() -> Iterator[str]:
    """Everything below the folder that the image adds."""
    for folder, _, names in os.walk(OURS):
        yield folder
        yield from (os.path.join(folder, name) for name in names)  # noqa: PTH118 - thousands at a time


def compiled(path: str) -> bool:
    """Whether a module has bytecode that no time of a file makes stale."""
    try:
        with open(importlib.util.cache_from_source(path), "rb") as code:  # noqa: PTH123 - as above
            return code.read(8)[4:] == UNCHECKED
    except OSError:
        return False


def contents() -> dict[str, object]:
    """Packages, what has a mode or an owner that it should not, modules that start slowly, and programs."""
    packages = importlib.metadata.distributions(path=[f"{OURS}/lib"])
    modes = {path: os.lstat(path) for path in files()}
    return {
        "packages": {one.metadata["Name"].lower().replace("_", "-"): one.version for one in packages},
        "writable": [
            path
            for path, status in modes.items()
            if status.st_uid != 0 or (status.st_mode & 0o7022 and not stat.S_ISLNK(status.st_mode))
        ],
        "uncompiled": [path for path in modes if path.endswith(".py") and not compiled(path)],
        "top": sorted(os.listdir(OURS)),  # noqa: PTH208 - as above
        "builders": [program for program in BUILDERS if shutil.which(program)],
        "pip": importlib.util.find_spec("pip") is not None,
    }


def readiness() -> float:
    """Seconds from the start of the daemon to its first tick, with neither driver nor configuration."""
    begun = time.monotonic()
    daemon = subprocess.Popen([sys.executable, "-m", "exporter"], stderr=subprocess.DEVNULL)
    while True:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", 9844)
            connection.request("GET", "/-/ready")
            if connection.getresponse().status == http.HTTPStatus.OK:
                break
        except OSError:
            time.sleep(0.01)
    took = time.monotonic() - begun
    daemon.terminate()
    assert daemon.wait() == 0
    return took


if __name__ == "__main__":
    sys.stdout.write(json.dumps({"contents": contents, "readiness": readiness}[sys.argv[1]]()) + "\n")
