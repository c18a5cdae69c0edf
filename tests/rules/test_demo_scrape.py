"""What `demo --print-prometheus-config` prints, a Prometheus takes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.cli import main


@pytest.mark.parametrize(
    ("address", "target"),
    [
        ([], "127.0.0.1:9844"),
        (["--web.listen-address=:8080"], "127.0.0.1:8080"),
        (["--web.listen-address=0.0.0.0:8080"], "127.0.0.1:8080"),
        (["--web.listen-address=[::]:8080"], "127.0.0.1:8080"),
        (["--web.listen-address=[::1]:8080"], "[::1]:8080"),
        (["--web.listen-address=gpu-host:8080"], "gpu-host:8080"),
    ],
)
def test_prometheus_takes_it(
    address: list[str],
    target: str,
    promtool: Callable[..., Any],
    prometheus_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One job that keeps the exporter's labels, where the demo listens, with the rules of this checkout."""
    assert main(["demo", "--print-prometheus-config", *address]) == 0
    printed = capsys.readouterr().out
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
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An installed package has none, and names no file that is not there."""
    monkeypatch.setattr("exporter.__file__", str(tmp_path / "exporter" / "__init__.py"))
    assert main(["demo", "--print-prometheus-config"]) == 0

    assert "rule_files" not in yaml.safe_load(capsys.readouterr().out)
