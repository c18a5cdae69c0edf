"""What `demo --print-prometheus-config` prints, a Prometheus takes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.demo.banner import prometheus_configuration


@pytest.mark.parametrize(
    ("address", "target"),
    [
        (":9844", "127.0.0.1:9844"),
        ("0.0.0.0:8080", "127.0.0.1:8080"),
        ("[::]:8080", "127.0.0.1:8080"),
        ("[::1]:8080", "[::1]:8080"),
        ("gpu-host:8080", "gpu-host:8080"),
    ],
)
def test_prometheus_takes_it(
    address: str, target: str, promtool: Callable[..., Any], prometheus_folder: Path, tmp_path: Path
) -> None:
    """One job that keeps the exporter's labels, where the demo listens, with the rules of this checkout."""
    printed = prometheus_configuration(address)
    file = tmp_path / "prometheus.yml"
    file.write_text(printed, encoding="utf-8")

    config = yaml.safe_load(printed)
    (job,) = config["scrape_configs"]
    assert job["honor_labels"] is True
    assert job["static_configs"] == [{"targets": [target], "labels": {"cluster": "demo"}}]
    rules = [str(prometheus_folder / f"{name}-rules.yml") for name in ("cluster", "fleet")]
    assert config["rule_files"] == rules
    checked = promtool("check", "config", str(file))
    assert checked.returncode == 0, checked.stderr


def test_where_there_is_no_checkout_there_are_no_rules(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An installed package has none, and names no file that is not there."""
    monkeypatch.setattr("exporter.__file__", str(tmp_path / "exporter" / "__init__.py"))

    assert "rule_files" not in yaml.safe_load(prometheus_configuration(":9844"))
