"""What `make release` makes: twice the same, each byte covered; image and chart work."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from deploy.release import environment
from tests import next_release
from tests.e2e.daemon import until
from tests.release.conftest import ROOT, Builds, Clone
from tests.rights import CONTAINERS

VERSION = next_release.VERSION
CHECK = ("sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS")
Find = Callable[[Path, str], Path]
pytestmark = [pytest.mark.timeout(3600)]


def test_two_builds_have_the_same_bytes(builds: Builds) -> None:
    """In other folders: every artifact, by its checksum; and each is what was asked for."""
    assert (builds.tagged / "SHA256SUMS").read_bytes() == (builds.again / "SHA256SUMS").read_bytes()
    assert subprocess.run(CHECK, cwd=builds.again, check=False).returncode == 0
    name = "inference-cost-exporter"
    assert sorted(path.name for path in builds.tagged.iterdir()) == sorted(
        [
            "SHA256SUMS",
            f"inference_cost_exporter-{VERSION}-py3-none-any.whl",
            f"inference_cost_exporter-{VERSION}.tar.gz",
            f"{name}-{VERSION}-dashboards-and-rules.tar.gz",
            f"{name}-{VERSION}-image.oci.tar",
            f"{name}-{VERSION}.cdx.json",
            f"{name}-{VERSION}.intoto.json",
            f"{name}-{VERSION}.tgz",
            *(f"{name}_{VERSION}-1_{architecture}.deb" for architecture in ("amd64", "arm64")),
            *(f"{name}-{VERSION}-1.{machine}.rpm" for machine in ("x86_64", "aarch64")),
        ]
    )


def test_one_changed_byte_is_found(builds: Builds, tmp_path: Path) -> None:
    """By the command of docs/release.md, in each file."""
    page = (ROOT / "docs/release.md").read_text()
    assert "sha256sum --check --strict --ignore-missing SHA256SUMS" in page
    for path in sorted(builds.tagged.iterdir()):
        folder = tmp_path / "changed"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name in {path.name, "SHA256SUMS"}:
            (folder / name).write_bytes((builds.tagged / name).read_bytes())
        content = bytearray((folder / path.name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / path.name).write_bytes(content)
        done = subprocess.run(
            ["sha256sum", "--check", "--strict", "--ignore-missing", "SHA256SUMS"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1, path.name


def test_provenance_and_bill_of_materials_cover_the_artifacts(builds: Builds, artifact: Find) -> None:
    """Each artifact but the two statements about them, with its own digest; each package, with a hash."""
    statement = json.loads(artifact(builds.tagged, r"\.intoto\.json$").read_text())
    digests = {one["name"]: one["digest"]["sha256"] for one in statement["subject"]}
    files = {path.name: path for path in builds.tagged.iterdir()}
    assert files.keys() - digests.keys() == {"SHA256SUMS", f"inference-cost-exporter-{VERSION}.intoto.json"}
    for name, digest in digests.items():
        assert hashlib.sha256(files[name].read_bytes()).hexdigest() == digest

    bill = json.loads(artifact(builds.tagged, r"\.cdx\.json$").read_text())
    assert bill["metadata"]["component"]["version"] == VERSION
    names = {one["name"] for one in bill["components"]}
    assert {"httpx", "h11", "python3.13-minimal", "libssl3t64", "libc6"} <= names


def test_no_artifact_names_a_folder_of_the_build(builds: Builds, artifact: Find, tmp_path: Path) -> None:
    """Neither of a checkout nor of temporary files; the wheel is looked into, and bytecode."""
    forbidden = [str(path).encode() for path in (ROOT, Path(tempfile.gettempdir()), Path.home())]
    (wheel,) = builds.tagged.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        texts = {name: archive.read(name) for name in archive.namelist() if not name.endswith(".py")}
    for path in builds.tagged.glob("inference-cost-exporter*.json"):
        texts[path.name] = path.read_bytes()
    assert [name for name, text in texts.items() if any(one in text for one in forbidden)] == []

    subprocess.run(["dpkg-deb", "--extract", artifact(builds.tagged, r"amd64\.deb$"), tmp_path], check=True)
    folder_of_build = re.compile(re.escape(forbidden[1]) + rb"/\w+/amd64/")
    compiled = [path for path in tmp_path.rglob("*.pyc") if folder_of_build.search(path.read_bytes())]
    assert compiled == []


def test_a_later_commit_is_another_version(builds: Builds, artifact: Find) -> None:
    """Past the tag, on the way to the next minor version, with its commit."""
    major, minor, _ = VERSION.split(".")
    later = f"{major}.{int(minor) + 1}.0.dev1+g{builds.revision[:7]}"
    with zipfile.ZipFile(artifact(builds.later, r"\.whl$")) as archive:
        assert archive.read("exporter/version.txt").decode() == f"{later} {builds.revision}\n"
    assert artifact(builds.later, r"amd64\.deb$").name.split("_")[1] == later.replace(".dev", "~dev") + "-1"


def test_a_changed_tree_is_refused(clone: Clone, tmp_path: Path) -> None:
    """In one sentence that names the file; a file that git does not know counts."""
    (clone.folder / "secret.txt").touch()
    done = clone.release(tmp_path / "out")
    (clone.folder / "secret.txt").unlink()
    assert done.returncode != 0
    assert "uncommitted changes (secret.txt): commit or remove them, then try again" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("helm", ["helm-3", "helm-4"])
def test_the_chart_is_rendered_by_helm(builds: Builds, artifact: Find, helm: str) -> None:
    """Its version is SemVer, and the image that it names has the tag of the release."""
    program = ROOT / ".cache/charts/programs" / helm
    for folder, pattern in (
        (builds.tagged, r"^\d+\.\d+\.\d+$"),
        (builds.later, r"^\d+\.\d+\.0-dev\.1\+g\w{7}$"),
    ):
        file = artifact(folder, r"\d\.tgz$|g\w{7}\.tgz$")
        shown = subprocess.run([program, "show", "chart", file], check=True, capture_output=True, text=True)
        chart = yaml.safe_load(shown.stdout)
        assert re.fullmatch(pattern, chart["version"])
        assert chart["appVersion"] == chart["version"].replace("+", "-")
        rendered = subprocess.run(
            [
                program,
                "template",
                file,
                "--set",
                "image.repository=registry.example/x",
                "--set",
                "platform=generic",
            ],
            check=True,
            capture_output=True,
            text=True,
        )
        assert f"image: registry.example/x:{chart['appVersion']}\n" in rendered.stdout.replace('"', "")


@pytest.fixture
def podman(tmp_path: Path) -> Iterator[list[str]]:
    """Podman on a store of its own."""
    if os.geteuid() != 0:
        pytest.skip(CONTAINERS)
    driver = (
        (ROOT / ".cache/rootfs/driver").read_text().strip()
        if (ROOT / ".cache/rootfs/driver").exists()
        else "vfs"
    )
    command = [
        *("podman", "--runtime", "runc", "--storage-driver", driver),
        *("--root", str(tmp_path / "store"), "--runroot", str(tmp_path / "run")),
    ]
    yield command
    subprocess.run([*command, "rm", "--all", "--force", "--time", "0"], check=False, capture_output=True)


RIGHTS = ("--network=none", "--read-only", "--cap-drop=all", "--tmpfs=/tmp")
PYTHON = "/opt/inference-cost-exporter/bin/python3"
QEMU = Path("/usr/bin/qemu-aarch64")
READ = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:9844/metrics').read().decode())"


class Archived(NamedTuple):
    """The image of one architecture, in a store; `emulator` runs programs that are not this machine's."""

    podman: list[str]
    architecture: str
    options: tuple[str, ...]
    emulator: tuple[str, ...]

    def run(self, *words: str) -> str:
        """What podman prints.

        Raises:
            AssertionError: it failed; the message is what it said.
        """
        done = subprocess.run([*self.podman, *words], check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def python(self, name: str, *words: str) -> "subprocess.CompletedProcess[str]":
        """What Python does in a container that runs."""
        command = [*self.podman, "exec", name, *self.emulator, PYTHON, "-IS", *words]
        return subprocess.run(command, check=False, capture_output=True, text=True)


@pytest.fixture(params=["amd64", "arm64"])
def archived(request: pytest.FixtureRequest, podman: list[str]) -> Archived:
    """Of this machine, and of another one: its programs are given to QEMU one by one."""
    if request.param == "amd64":
        return Archived(podman, "amd64", RIGHTS, ())
    assert QEMU.exists(), "missing: qemu-aarch64; on Debian: apt-get install qemu-user"
    mount = f"--volume={QEMU}:{QEMU}:ro"
    return Archived(podman, "arm64", (*RIGHTS, mount), (str(QEMU),))


def test_the_image_serves_the_demo(builds: Builds, artifact: Find, archived: Archived) -> None:
    """Loaded from its archive, without network, rights and a writable root; its labels are the release's."""
    file, run = artifact(builds.tagged, r"oci\.tar$"), archived.run
    pull = ("pull", "--quiet", "--arch", archived.architecture, f"oci-archive:{file}")
    name = run(*(pull if archived.emulator else ("load", "--input", str(file)))).rpartition(" ")[2]
    facts = json.loads(run("image", "inspect", name))[0]
    assert (facts["Architecture"], facts["Config"]["User"]) == (archived.architecture, "65532:65532")
    labels = facts["Config"]["Labels"]
    assert labels["org.opencontainers.image.version"] == VERSION
    assert re.fullmatch(r"[0-9a-f]{40}", labels["org.opencontainers.image.revision"])
    (entry,) = facts["Config"]["Entrypoint"]
    program = json.dumps([*archived.emulator, PYTHON, "-BIuS", entry] if archived.emulator else [entry])
    options = (*archived.options, "--entrypoint", program)
    assert run("run", "--rm", *options, name, "--version") == f"inference-cost-exporter {VERSION}"

    demo = run("run", "--detach", *options, name, "demo", "--web.listen-address=:9844")
    metrics = until(lambda: archived.python(demo, "-c", READ).stdout, 1800, "metrics of the demo", pause=2)
    assert metrics.count("inference_gpu_up{") == 8
    assert f'version="{VERSION}"' in metrics
    assert "\ninference_ledger_residual_dollars 0.0\n" in metrics
    machine = archived.python(demo, "-c", "import os; print(os.uname().machine)").stdout.strip()
    assert machine == environment.MACHINES[archived.architecture]
    assert archived.python(demo, "/opt/inference-cost-exporter/healthcheck.py").returncode == 0
    run("stop", "--time", "60", demo)  # then SIGKILL, and another status
    assert run("inspect", demo, "--format", "{{.State.ExitCode}}") == "0"


def test_the_other_architecture_has_programs_of_its_own(
    builds: Builds, artifact: Find, tmp_path: Path
) -> None:
    """Each ELF file of the arm64 package is for AArch64 (e_machine 183), and none of the amd64 one is."""
    machines = {}
    for architecture in ("amd64", "arm64"):
        folder = tmp_path / architecture
        file = artifact(builds.tagged, rf"{architecture}\.deb$")
        subprocess.run(["dpkg-deb", "--extract", file, folder], check=True)
        heads = [
            path.read_bytes()[:20] for path in folder.rglob("*") if path.is_file() and not path.is_symlink()
        ]
        machines[architecture] = {head[18] for head in heads if head.startswith(b"\x7fELF")}
    assert machines == {"amd64": {62}, "arm64": {183}}


def test_dashboards_and_rules_are_those_of_the_commit(builds: Builds, artifact: Find) -> None:
    """All dashboards, both files of rules, and the runbooks that alerts link to."""
    with tarfile.open(artifact(builds.tagged, r"rules\.tar\.gz$")) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {f"dashboards/{path.name}" for path in (ROOT / "dashboards").glob("*.json")} <= names
    assert {"deploy/prometheus/fleet-rules.yml", "deploy/prometheus/cluster-rules.yml"} <= names
    assert {f"docs/runbooks/{path.name}" for path in (ROOT / "docs/runbooks").glob("*.md")} <= names
