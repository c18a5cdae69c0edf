"""deploy/examples: one host with vLLM under systemd. The cluster is a scenario of the chart."""

import configparser
import shlex
import subprocess
from pathlib import Path

import yaml

from exporter.config import parse
from exporter.engines.launch import launch

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "examples" / "vllm"


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[method-assign, assignment]
    parser.read(FOLDER / "vllm.service", encoding="utf-8")
    return parser


def test_the_configuration_is_of_this_server_and_of_these_prices() -> None:
    """Its entry means the unit beside it; four GPUs for a month of 730 hours stay below the budget."""
    config = parse((FOLDER / "inference-cost-exporter.yaml").read_bytes())
    (server,), (budget,) = config.server_rules, config.budgets

    assert (server.name, server.match.unit) == ("chat", "vllm.service")
    assert (FOLDER / str(server.match.unit)).exists()
    assert 4 * 730 * 2.50 == 7300 < float(budget.dollars_per_month)


def test_the_exporter_recognizes_what_the_unit_starts() -> None:
    """The engine, the model and the port, by the command line alone."""
    command = shlex.split(unit()["Service"]["ExecStart"])
    server = launch(command)

    assert server is not None
    assert (server.engine, server.port, server.model) == ("vllm", 8000, "chat")


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    """With a program where the unit has vLLM's."""
    (program := tmp_path / "vllm").write_text("#!/bin/sh\n")
    program.chmod(0o755)
    text = (FOLDER / "vllm.service").read_text().replace("/opt/vllm/bin/vllm", str(program))
    (copy := tmp_path / "vllm.service").write_text(text)
    process = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", copy],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (process.returncode, process.stderr) == (0, "")


def test_prometheus_takes_its_file() -> None:
    """With both files of rules, and the labels that the exporter's series have."""
    process = subprocess.run(
        ["promtool", "check", "config", FOLDER / "prometheus.yml"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert process.returncode == 0, process.stderr
    assert "2 rule files found" in process.stdout
    (job,) = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]
    assert job["honor_labels"] is True
