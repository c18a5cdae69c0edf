"""The manifests that the tests of this folder look at, parsed once."""

from pathlib import Path
from typing import Any

import pytest
import yaml

KUBERNETES = Path(__file__).parents[2] / "deploy" / "kubernetes"


@pytest.fixture(scope="session")
def daemonset_file() -> Path:
    return KUBERNETES / "daemonset.yaml"


@pytest.fixture(scope="session")
def manifests(daemonset_file: Path) -> dict[str, dict[str, Any]]:
    """Each document of the file by its kind."""
    return {document["kind"]: document for document in yaml.safe_load_all(daemonset_file.read_text())}


@pytest.fixture(scope="session")
def pod(manifests: dict[str, dict[str, Any]]) -> dict[str, Any]:
    spec: dict[str, Any] = manifests["DaemonSet"]["spec"]["template"]["spec"]
    return spec


@pytest.fixture(scope="session")
def container(pod: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod["containers"]
    return dict(only)


@pytest.fixture(scope="session")
def podmonitor() -> dict[str, Any]:
    return dict(yaml.safe_load((KUBERNETES / "podmonitor.yaml").read_text()))
