"""What the tests of the Prometheus files share: promtool, and the files."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]

MEMORY = {"GOGC": "off", "GOMEMLIMIT": "512MiB"}
"""Go collects garbage when this much is used, not at each doubling: a third of promtool's time else."""

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

    def run(*arguments: str, cwd: Path = prometheus_folder) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [binary, *arguments],
            cwd=cwd,
            env=MEMORY | os.environ,
            capture_output=True,
            text=True,
            timeout=600,  # promtool computes, and a busy machine takes its time
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def alerts(rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every alerting rule; what pages where waiting is dear and is a ticket elsewhere has two."""
    return [rule for rule in rules if "alert" in rule]


@pytest.fixture(scope="session")
def rules(prometheus_folder: Path) -> list[dict[str, Any]]:
    files = sorted(prometheus_folder.glob("*-rules.yml"))
    assert [file.name for file in files] == ["cluster-rules.yml", "fleet-rules.yml"]
    groups = [
        group for file in files for group in yaml.load(file.read_text(), Loader=yaml.CSafeLoader)["groups"]
    ]
    return [rule for group in groups for rule in group["rules"]]


@pytest.fixture(scope="session")
def rule_tests(prometheus_folder: Path) -> list[Path]:
    """The files of promtool's tests; small ones, so that they run beside each other."""
    return sorted(prometheus_folder.glob("*_test.yml"))


@pytest.fixture(scope="session")
def cases(rule_tests: list[Path]) -> list[dict[str, Any]]:
    return [
        case for file in rule_tests for case in yaml.load(file.read_text(), Loader=yaml.CSafeLoader)["tests"]
    ]


@pytest.fixture(scope="session")
def repository() -> Path:
    return ROOT
