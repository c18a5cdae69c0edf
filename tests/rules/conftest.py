"""What the tests of the Prometheus files share: promtool, and the files."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]

Promtool = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def prometheus_folder() -> Path:
    return ROOT / "deploy" / "prometheus"


@pytest.fixture(scope="session")
def promtool(prometheus_folder: Path) -> Promtool:
    """Run promtool in the folder of the rules; its absence fails, since nothing else proves the rules."""
    binary = shutil.which("promtool")
    if binary is None:
        pytest.fail("promtool is not on PATH: apt-get install prometheus", pytrace=False)

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [binary, *arguments],
            cwd=prometheus_folder,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def alerts(prometheus_folder: Path) -> list[dict[str, Any]]:
    groups = yaml.safe_load((prometheus_folder / "rules.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


@pytest.fixture(scope="session")
def repository() -> Path:
    return ROOT
