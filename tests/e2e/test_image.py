"""The image: what is in it, that it can be built twice, and that it runs with nothing but its own files.

Base and builder are the smallest Debian of this machine's release (tools/rootfs), for no registry is asked.
"""

import json
import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.containers import BASE, POWERLESS, ROOTFS, Image, Store
from tests.e2e.daemon import ROOT, until
from tests.rights import CONTAINERS

TOOLS = ROOT / ".cache" / "image" / "bin"
LOCK = (ROOT / "requirements" / "runtime.lock").read_text(encoding="utf-8")
PINS = dict(re.findall(r"^([\w.-]+)==([^\s\\]+)", LOCK, re.MULTILINE))
INSIDE = (Path(__file__).parent / "container_check.py").read_text(encoding="utf-8")
OWN_MEBIBYTES_MAX = 26
DAEMON_SECONDS_MAX, DEMO_SECONDS_MAX = 30, 150
"""Bounds on a busy machine of two cores; what it took is said at the end of the run."""

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(os.geteuid() != 0, reason=CONTAINERS),
]


def layers(image: Image) -> list[str]:
    """The digests of its layers, the base's first."""
    return list(image.facts["RootFS"]["Layers"])


def test_the_dockerfile_is_clean() -> None:
    """Hadolint finds nothing."""
    done = subprocess.run(
        [TOOLS / "hadolint", ROOT / "deploy/docker/Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_it_says_what_it_is(image: Image) -> None:
    """Labels in the words of the OCI, nobody's user, one port, no volume, and a check of its health."""
    config = image.facts["Config"]
    labels = {
        name.removeprefix("org.opencontainers.image."): value
        for name, value in config["Labels"].items()
        if name.startswith("org.")
    }
    assert labels.pop("description")
    assert labels == {
        "title": "inference-cost-exporter",
        "licenses": "Apache-2.0",
        "version": "1.2.3",
        "revision": "0123456789abcdef",
    }
    assert (config["User"], list(config["ExposedPorts"]), config.get("Volumes")) == (
        "65532:65532",
        ["9844/tcp"],
        None,
    )
    assert config["Entrypoint"] == ["python3", "-m", "exporter"]
    assert image.facts["Healthcheck"]["Test"][0] == "CMD"


@pytest.mark.nightly
def test_two_builds_have_the_same_layers(image: Image, store: Store) -> None:
    """Not one byte of a layer depends on when, where or in which order it was built."""
    words = (
        "--build-arg",
        "VERSION=1.2.3",
        "--build-arg",
        "REVISION=0123456789abcdef",
        "--label",
        "build=again",
    )
    again = store.build("localhost/again:latest", *words, "--no-cache")
    assert again["RootFS"]["Layers"] == layers(image)
    assert again["Id"] != image.facts["Id"]  # it was built, and not found


def test_it_brings_what_is_locked_and_our_files(
    image: Image, store: Store, measured: Callable[[str], None]
) -> None:
    """One layer above the base: the pinned packages, our own, a license and a check; nobody may write.

    There is bytecode of each module, which is not read against the time of a file.
    """
    base = store.inspect(BASE)
    own = (image.facts["Size"] - base["Size"]) / 2**20
    measured(f"image: {own:.1f} MiB above the base, which here is a Debian of {base['Size'] / 2**20:.0f} MiB")
    assert layers(image)[:-1] == base["RootFS"]["Layers"]
    assert own < OWN_MEBIBYTES_MAX

    files = json.loads(image.once("-c", INSIDE, "contents", program="python3"))
    needless = {"typing-extensions"}  # from Python 3.15 on
    assert files["packages"] == {name: version for name, version in PINS.items() if name in files["packages"]}
    assert PINS.keys() - files["packages"].keys() <= needless
    assert (files["writable"], files["uncompiled"]) == ([], [])
    assert image.once("--version", program="inference-cost-exporter") == ("inference-cost-exporter 1.2.3")
    assert files["top"] == ["LICENSE", "__pycache__", "healthcheck.py", "lib"]
    assert (files["builders"], files["pip"]) == ([], False)


def test_every_package_is_built_for_both_architectures() -> None:
    """The lock can be installed from wheels on arm64 as here: the same packages in the same versions."""

    def named(folder: str) -> set[tuple[str, ...]]:
        return {tuple(path.name.split("-")[:2]) for path in (ROOTFS / folder).glob("*.whl")}

    assert named("wheels") == named("wheels-arm64") != set()
    assert len(named("wheels")) >= len(PINS) - 1
    kinds = {path.name.rsplit("-", 1)[1] for path in (ROOTFS / "wheels-arm64").glob("*.whl")}
    assert any("aarch64" in kind for kind in kinds)


def test_the_bill_of_materials_is_the_lock(tmp_path: Path) -> None:
    """`tools/sbom`: each pinned package with its version and hashes, and the exporter as their subject."""
    subprocess.run(["tools/sbom", tmp_path / "sbom.json"], cwd=ROOT, check=True, capture_output=True)
    bill = json.loads((tmp_path / "sbom.json").read_text(encoding="utf-8"))
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == (
        "CycloneDX",
        "inference-cost-exporter",
    )
    assert {part["name"]: part["version"] for part in bill["components"]} == PINS
    hashes = {
        digest["content"]
        for part in bill["components"]
        for reference in part["externalReferences"]
        for digest in reference.get("hashes", ())
    }
    assert hashes == set(re.findall(r"sha256:([0-9a-f]{64})", LOCK))


def test_it_serves_the_demo_with_nothing(image: Image, store: Store, measured: Callable[[str], None]) -> None:
    """Read-only but for a /tmp, without capabilities or network, as nobody: page, health, SIGTERM."""
    begun = time.monotonic()
    name = store.make(
        "run", "--detach", *POWERLESS, "--tmpfs=/tmp", image.tag, "demo", "--web.listen-address=:9844"
    )

    def body_of(path: str) -> str:
        script = (
            f"import urllib.request as r; print(r.urlopen('http://127.0.0.1:9844{path}').read().decode())"
        )
        return store.run("podman", "exec", name, "python3", "-c", script)

    def healthy() -> bool:
        done = subprocess.run(
            store.command("podman", "healthcheck", "run", name), check=False, capture_output=True
        )
        return done.returncode == 0

    until(healthy, DEMO_SECONDS_MAX, "a healthy demo")
    measured(
        f"image: the demo, with the hours before it, answers {time.monotonic() - begun:.1f} s after the start"
    )
    assert "inference_gpu_up{" in body_of("/metrics")
    assert "<html" in body_of("/")
    words = store.run("podman", "logs", name)
    (function,) = re.findall(
        r"^  demo\(\) \{ podman exec (.*) \"\$@\" (--config\.file=\S+); \}$", words, re.MULTILINE
    )
    program, config = function
    assert name.startswith(program.split()[0])
    assert program.split()[1:] == ["inference-cost-exporter"]
    explained = store.run(
        "podman", "exec", *program.split(), "explain", "archive-13b", "--window=24h", config
    )
    assert "served no token since" in explained
    (grep,) = re.findall(r"^ +podman exec (\S+ grep) 'unobserved time' (\S+)$", words, re.MULTILINE)
    assert "unobserved time" in store.run("podman", "exec", *grep[0].split(), "unobserved time", grep[1])
    who = store.run("podman", "exec", name, "python3", "-c", "import os; print(os.getuid(), os.getgid())")
    assert who == "65532 65532"
    store.run("podman", "stop", "--time", "20", name)  # then SIGKILL, and another status
    assert store.run("podman", "inspect", name, "--format", "{{.State.ExitCode}}") == "0"


def test_the_daemon_answers_soon(image: Image, measured: Callable[[str], None]) -> None:
    """Without a driver, a ledger or a configuration it is ready with its first tick."""
    begun = time.monotonic()
    took = float(image.once("-c", INSIDE, "readiness", program="python3"))
    whole = time.monotonic() - begun
    measured(f"image: the daemon is ready {took:.2f} s after its start; the container lives {whole:.2f} s")
    assert took < DAEMON_SECONDS_MAX
