"""The demo and everything around it, for Docker: it mounts the files that the other tests run."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import next_release

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "compose"
PINNED = re.compile(r"docker\.io/[a-z]+/[a-z]+:v?\d+\.\d+\.\d+")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((FOLDER / "compose.yaml").read_text()))


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return dict(compose["services"])


@pytest.fixture(scope="module")
def published(services: dict[str, dict[str, Any]]) -> list[str]:
    return [port for service in services.values() for port in service.get("ports", ())]


def mounts(service: dict[str, Any]) -> dict[str, Path]:
    """What of this repository a container sees, by the path that it sees it at."""
    split = [volume.split(":") for volume in service.get("volumes", ())]
    return {parts[1]: (FOLDER / parts[0]).resolve() for parts in split if parts[0].startswith(".")}


def here(service: dict[str, Any], path: str) -> Path:
    """The file of this repository that a container finds at a path."""
    (on_host,) = [
        folder / Path(path).relative_to(at)
        for at, folder in mounts(service).items()
        if Path(path).is_relative_to(at)
    ]
    return on_host


def flag(service: dict[str, Any], name: str) -> str:
    """The value of a flag on a container's command line."""
    (value,) = [word.partition("=")[2] for word in service["command"] if word.startswith(f"--{name}=")]
    return str(value)


def accepted(program: str, *arguments: str) -> str:
    """What a checking program prints; its absence fails, since nothing else reads the files as it does."""
    binary = shutil.which(program)
    assert binary is not None, f"{program} is not on PATH"
    result = subprocess.run([binary, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_everything_that_is_mounted_is_here_and_stays_as_it_is(
    compose: dict[str, Any], services: dict[str, dict[str, Any]]
) -> None:
    """Docker would make an empty folder of what is missing, and a container may write to none of ours."""
    mounted = [volume for service in services.values() for volume in service.get("volumes", ())]

    assert {volume for volume in mounted if volume.startswith(".")} == {
        "../prometheus:/etc/prometheus:ro",
        "../alertmanager:/etc/alertmanager:ro",
        "../grafana/provisioning:/etc/grafana/provisioning:ro",
        "../../dashboards:/var/lib/grafana/dashboards/inference-cost:ro",
    }
    assert [
        path for service in services.values() for path in mounts(service).values() if not path.is_dir()
    ] == []
    assert {volume.split(":")[0] for volume in mounted if not volume.startswith(".")} == set(
        compose["volumes"]
    )


def test_images_are_pinned(services: dict[str, dict[str, Any]]) -> None:
    """Whole versions; ours is this one, Grafana's the one that the dashboards are written for."""
    images = {name: service["image"] for name, service in services.items()}
    sdk = re.search(r'"grafana-foundation-sdk==\d+!([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    assert sdk is not None

    assert images.pop("exporter") == f"inference-cost-exporter:{next_release.VERSION}"
    assert [image for image in images.values() if not PINNED.fullmatch(image)] == []
    assert images["grafana"] == f"docker.io/grafana/grafana:{sdk[1]}"


def test_our_image_is_not_built_without_a_version(services: dict[str, dict[str, Any]]) -> None:
    """Compose knows no git: by `tools/docker-image` the image has its version, and no registry is asked."""
    assert "build" not in services["exporter"]
    assert services["exporter"]["pull_policy"] == "never"
    page = (ROOT / "docs" / "dashboards.md").read_text()
    up = "docker compose --file deploy/compose/compose.yaml up\n"
    assert f"tools/docker-image\n{up}" in page
    assert f"tools/docker-image && {up}" in (FOLDER / "compose.yaml").read_text()


def test_only_this_machine_reaches_the_ports(
    services: dict[str, dict[str, Any]], published: list[str]
) -> None:
    """Each is published on loopback under its own number, by the one whose network the others share."""
    assert sorted(published) == [f"127.0.0.1:{port}:{port}" for port in (3000, 9090, 9093, 9844)]
    assert "ports" in services["prometheus"]
    assert {name: service.get("network_mode") for name, service in services.items()} == {
        "prometheus": None,
        "exporter": "service:prometheus",
        "alertmanager": "service:prometheus",
        "grafana": "service:prometheus",
    }


def test_prometheus_finds_its_configuration_and_rules(services: dict[str, dict[str, Any]]) -> None:
    """Prometheus accepts the very file that is mounted, and finds both rule files beside it."""
    file = here(services["prometheus"], flag(services["prometheus"], "config.file"))

    assert "2 rule files found" in accepted("promtool", "check", "config", str(file))
    assert int(flag(services["prometheus"], "storage.tsdb.retention.time").removesuffix("d")) >= 15


def test_the_alertmanager_finds_its_configuration(services: dict[str, dict[str, Any]]) -> None:
    """As amtool reads it."""
    file = here(services["alertmanager"], flag(services["alertmanager"], "config.file"))

    assert "SUCCESS" in accepted("amtool", "check-config", str(file))


def test_who_asks_whom_is_published(services: dict[str, dict[str, Any]], published: list[str]) -> None:
    """Prometheus scrapes the exporter and tells the Alertmanager, Grafana asks Prometheus."""
    prometheus = here(services["prometheus"], flag(services["prometheus"], "config.file"))
    config = yaml.safe_load(prometheus.read_text())
    sources = here(services["grafana"], "/etc/grafana/provisioning/datasources/prometheus.yaml")
    (source,) = yaml.safe_load(sources.read_text())["datasources"]
    jobs = [*config["scrape_configs"], *config["alerting"]["alertmanagers"]]
    targets = [target for job in jobs for entry in job["static_configs"] for target in entry["targets"]]

    assert [*targets, source["url"]] == ["localhost:9844", "localhost:9093", "http://localhost:9090"]
    assert {f"127.0.0.1:{port}:{port}" for port in (9844, 9093, 9090)} <= set(published)
    assert services["exporter"]["command"] == ["demo", "--web.listen-address=:9844"]


def test_the_demo_may_write_its_ledger_and_nothing_else(services: dict[str, dict[str, Any]]) -> None:
    """Its root is read-only; what it needs goes to a /tmp in memory."""
    assert services["exporter"]["read_only"] is True
    assert services["exporter"]["tmpfs"] == ["/tmp:size=64m"]  # noqa: S108  # as Docker is told


def test_grafana_finds_the_dashboards(services: dict[str, dict[str, Any]]) -> None:
    """Where its provisioning says, and the one that it opens with."""
    grafana = services["grafana"]
    providers = here(grafana, "/etc/grafana/provisioning/dashboards/inference-cost.yaml")
    (provider,) = yaml.safe_load(providers.read_text())["providers"]
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]

    assert len(list(here(grafana, provider["options"]["path"]).glob("*.json"))) == 6
    assert json.loads(here(grafana, home).read_text())["uid"] == "inference-cost"
