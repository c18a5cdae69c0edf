"""The daemon by exactly the arguments that the chart renders, asked as the kubelet and Prometheus would.

Only paths are others: each mount of the container is a folder of the test, with what would be mounted there.
"""

import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.charts.chart import Manifest, container_of, manifests, only, pod_of, scenario, values
from tests.e2e.daemon import ROOT, Page, free_port, until
from tests.e2e.daemon_with_auth import PASSWORD, USER
from tests.fake_nvml.library import FakeNvml
from tests.web.certificates import Authority, first_bytes
from tests.web.certificates import request as request_page
from tests.web.test_passwords import basic, hashed

TLS = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n"
CLIENTS = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n"
NAME = "inference-cost-exporter"
"""Of the certificate: the one that the scenarios' PodMonitors ask for."""

pytestmark = pytest.mark.timeout(120)


@dataclass(frozen=True)
class Pod:
    """A container that runs, and who signed its certificate."""

    objects: list[Manifest]
    port: int
    authority: Authority
    folder: Path
    process: "subprocess.Popen[bytes]"

    def probe(self, kind: str) -> bool:
        """One probe as the kubelet makes it: no certificate of its own, none checked, no password."""
        spec = container_of(self.objects)[kind]
        with socket.create_connection(("127.0.0.1", self.port), timeout=10):
            if "tcpSocket" in spec:
                return True
        context = None
        if spec["httpGet"].get("scheme") == "HTTPS":
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return request_page(self.port, context, spec["httpGet"]["path"])[0] == 200

    def ready(self) -> bool:
        """Whether all three probes pass.

        Raises:
            ChildProcessError: it has ended.
        """
        if self.process.poll() is not None:
            raise ChildProcessError((self.folder / "log").read_text(encoding="utf-8"))
        try:
            return all(map(self.probe, ("startupProbe", "livenessProbe", "readinessProbe")))
        except OSError:
            return False

    def scraped(self, **headers: str) -> tuple[int, bytes]:
        """Status and body of what Prometheus gets by the PodMonitor, which names the certificate."""
        (endpoint,) = only("PodMonitor", self.objects)["spec"]["podMetricsEndpoints"]
        assert (endpoint["scheme"], endpoint["port"]) == ("https", "metrics")
        tls = endpoint["tlsConfig"]
        pair = self.authority.signs("scrape", "prometheus") if "keySecret" in tls else None
        context = self.authority.client(pair)
        context.check_hostname = False  # by its address; the name is checked here
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname=tls["serverName"]) as shown,
        ):
            assert ("DNS", tls["serverName"]) in dict(shown.getpeercert() or {})["subjectAltName"]
        credentials = {"Authorization": basic(USER, PASSWORD)} if "basicAuth" in endpoint else {}
        status, _, body = request_page(self.port, context, endpoint["path"], **{**credentials, **headers})
        return status, body


@pytest.fixture(scope="module", params=["secured", "client-certificates"])
def pod(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, gpus: FakeNvml) -> Any:
    """One scenario's, ready by its own probes."""
    name: str = request.param
    port = free_port()
    given = yaml.safe_load(scenario(name).read_text())
    changed = values(
        web={**given["web"], "port": port},
        config={"interval": "1s", "discovery": {"cloud": "off"}},
    )
    yield from started(
        manifests("--values", str(scenario(name)), *changed), port, tmp_path_factory.mktemp(name), gpus
    )


def started(objects: list[Manifest], port: int, folder: Path, gpus: FakeNvml) -> Iterator[Pod]:
    """The container of a DaemonSet, while it runs."""
    folders = {}
    for mount in container_of(objects)["volumeMounts"]:
        folders[mount["mountPath"]] = folder / mount["name"]
        folders[mount["mountPath"]].mkdir()
    volumes = {volume["name"]: volume for volume in pod_of(objects)["volumes"]}
    for file, text in only_config(objects)["data"].items():
        (folder / "config" / file).write_text(text)
    assert volumes["config"]["configMap"]["name"] == only_config(objects)["metadata"]["name"]
    secret = folder / "web-config"
    authority = Authority(secret)
    authority.signs("server", NAME)
    (argument,) = (word for word in container_of(objects)["args"] if "--web.config.file=" in word)
    web_config = f"basic_auth_users:\n  {USER}: {hashed(PASSWORD, 4)}\n"
    if "tcpSocket" in container_of(objects)["livenessProbe"]:
        web_config = CLIENTS
    (secret / Path(argument).name).write_text(TLS + web_config)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "exporter",
                *(moved(word, folders) for word in container_of(objects)["args"]),
            ],
            cwd=ROOT,
            env={"PATH": "/usr/bin:/bin", **gpus.environment()},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    running = Pod(objects, port, authority, folder, process)
    try:
        until(running.ready, 30, "ready by its own probes")
        yield running
    finally:
        process.kill()
        process.wait(10)


def only_config(objects: list[Manifest]) -> Manifest:
    """The ConfigMap that the DaemonSet mounts, not the one of the Job."""
    return next(
        manifest
        for manifest in objects
        if manifest["kind"] == "ConfigMap"
        and "helm.sh/hook" not in manifest["metadata"].get("annotations", {})
    )


def moved(argument: str, folders: dict[str, Path]) -> str:
    """An argument whose path, if it has one, is in the test's folder instead of in a mount."""
    flag, equals, value = argument.partition("=")
    if not value.startswith("/"):
        return argument
    (path,) = (path for path in folders if Path(value).is_relative_to(path))
    return f"{flag}{equals}{folders[path]}{value.removeprefix(path)}"


def test_prometheus_gets_the_money(pod: Pod) -> None:
    """By what the PodMonitor says: scheme, name of the certificate, password or certificate."""

    def metered() -> bool:
        status, body = pod.scraped()
        assert status == 200
        return len(Page(body, 0).matching("inference_gpu_up")) == 3

    until(metered, 30, "three GPUs")
    assert (pod.folder / "ledger" / "ledger.db").is_file()


def test_nobody_else_does(pod: Pod) -> None:
    """Neither by plain HTTP, nor without the password or the certificate."""
    assert request_page(pod.port, None)[::2] == (400, b"This port speaks HTTPS: ask by https.\n")
    context = pod.authority.client()
    context.check_hostname = False
    if "tcpSocket" in container_of(pod.objects)["livenessProbe"]:
        with pytest.raises(ssl.SSLError, match="certificate required"):
            first_bytes(pod.port, context)
    else:
        assert request_page(pod.port, context)[0] == 401
        assert pod.scraped(Authorization=basic(USER, "wrong"))[0] == 401


def test_reloading_by_http_is_as_the_values_say(pod: Pod) -> None:
    """The scenario with passwords has switched it off, so that whoever may scrape may change nothing."""
    off = "--no-web.enable-lifecycle" in container_of(pod.objects)["args"]
    context = pod.authority.client(pod.authority.signs("admin", "admin"))
    context.check_hostname = False
    status, _, body = request_page(
        pod.port, context, "/-/reload", "POST", Authorization=basic(USER, PASSWORD)
    )

    assert (status, b"switched off" in body) == ((403, True) if off else (200, False))


def test_probes_that_speak_otherwise_would_restart_it(pod: Pod) -> None:
    """Those of plain HTTP fail at this port, so that the scenarios' passing means something."""
    plain = Pod(manifests(), pod.port, pod.authority, pod.folder, pod.process)

    assert not plain.ready()
    assert pod.ready()
