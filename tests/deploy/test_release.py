"""How a release is built: what refuses it, forms of the version, archives, the image, the scripts."""

import hashlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.release import __main__ as release
from deploy.release import debian, image, statements
from deploy.release.archive import Entry, gzipped, tar
from deploy.release.packages import package_version
from tests import next_release

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "deploy" / "release" / "scripts"
WORKFLOW = ROOT / ".github" / "workflows" / "release.yml"
UNIT = "inference-cost-exporter.service"


@pytest.mark.parametrize(
    ("changes", "version", "named", "why"),
    [
        ("", "1.2.3", {"a": "1.2.3"}, ""),
        ("", "1.3.0.dev4+gabc1234", {"a": "1.2.3"}, ""),
        (
            " M a.py\n?? b.py",
            "1.2.3",
            {},
            "the tree has uncommitted changes (a.py, b.py): commit or remove them, then try again",
        ),
        (
            "",
            "0+unknown",
            {},
            "git says no version: a release is built in a checkout, and its tags are vMAJOR.MINOR.PATCH",
        ),
        (
            "",
            "1.2.3",
            {"a": "1.2.3", "b": "1.2.2"},
            "the tag is v1.2.3, but b names 1.2.2: correct them and move the tag",
        ),
    ],
)
def test_only_a_clean_tree_with_a_version_is_released(
    changes: str, version: str, named: dict[str, str], why: str
) -> None:
    """The sentence says what to do."""
    assert release.reason_not_to(changes, version, named) == why


def test_all_files_name_the_next_release() -> None:
    """Changelog, chart, manifests and Compose."""
    assert set(release.named_versions().values()) == {next_release.VERSION}


def test_each_place_has_the_version_in_its_own_form() -> None:
    """SemVer for a chart, no plus in a tag, and what dpkg and rpm put before the release."""
    version = "0.2.0.dev3+gabc1234"
    assert release.chart_version(version) == "0.2.0-dev.3+gabc1234"
    assert release.image_tag(version) == "0.2.0-dev.3-gabc1234"
    assert package_version(version) == "0.2.0~dev3+gabc1234"
    assert {form("0.2.0") for form in (release.chart_version, release.image_tag, package_version)} == {
        "0.2.0"
    }


def test_an_archive_depends_on_its_contents_alone(tmp_path: Path) -> None:
    """Not on their order, or on the time, owner and place of a file; folders above an entry are made."""
    (tmp_path / "x").write_text("1")
    one = [Entry("b/c", b"1"), Entry("a", link="b/c", mode=0o777)]
    other = [Entry("a", link="b/c", mode=0o777), Entry("b/c", tmp_path / "x")]
    assert gzipped(tar(one, 86_400)) == gzipped(tar(other, 86_400)) != gzipped(tar(one, 0))

    with tarfile.open(fileobj=io.BytesIO(tar(one, 86_400))) as archive:
        rows = [(info.name, info.mode, info.uid, info.mtime, info.linkname) for info in archive]
    assert rows == [
        ("a", 0o777, 0, 86_400, "b/c"),
        ("b", 0o755, 0, 86_400, ""),
        ("b/c", 0o644, 0, 86_400, ""),
    ]
    with pytest.raises(ValueError, match="a: two entries"):
        tar([Entry("a", b"1"), Entry("a", b"2")], 0)


@pytest.fixture
def oci(tmp_path: Path) -> dict[str, bytes]:
    """The files of an image of two architectures, whose environments have one file each."""
    folders = {}
    for name in ("amd64", "arm64"):
        (tmp_path / name / "share").mkdir(parents=True)
        for file in ("debian_version", "os-release"):
            (tmp_path / name / "share" / file).write_text(name)
        folders[name] = tmp_path / name
    content = image.archive(folders, ("1.2.3", "abc"), "1.2.3", "2026-11-29T00:00:00Z", 0)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return {
            info.name: member.read() for info in archive if (member := archive.extractfile(info)) is not None
        }


def blob(oci: dict[str, bytes], described: dict[str, Any]) -> Any:
    """A JSON document by its digest, which is that of its bytes."""
    digest = described["digest"].removeprefix("sha256:")
    content = oci[f"blobs/sha256/{digest}"]
    assert (hashlib.sha256(content).hexdigest(), len(content)) == (digest, described["size"])
    return json.loads(content)


def test_the_image_is_set_as_the_dockerfile_sets_it(oci: dict[str, bytes]) -> None:
    """User, port, labels and variables, for both architectures; a base of one's own changes nothing else."""
    text = (ROOT / "deploy/docker/Dockerfile").read_text().partition("FROM ${BASE}\n")[2].replace("\\\n", " ")
    (top,) = json.loads(oci["index.json"])["manifests"]
    assert top["annotations"] == {"org.opencontainers.image.ref.name": "1.2.3"}
    manifests = blob(oci, top)["manifests"]
    assert [one["platform"]["architecture"] for one in manifests] == ["amd64", "arm64"]
    for described in manifests:
        manifest = blob(oci, described)
        settings = blob(oci, manifest["config"])
        config = settings["config"]
        assert settings["architecture"] == described["platform"]["architecture"]
        assert f"\nUSER {config['User']}\n" in text
        assert [f"{port}/tcp" for port in re.findall(r"^EXPOSE (\d+)$", text, re.MULTILINE)] == [
            *config["ExposedPorts"]
        ]
        labels = dict(re.findall(r'(org\.opencontainers\S+)="([^"]*)"', text))
        labels |= {"org.opencontainers.image.version": "1.2.3", "org.opencontainers.image.revision": "abc"}
        assert config["Labels"] == labels
        (variables,) = re.findall(r"^ENV (.*)$", text, re.MULTILINE)
        own = {one for one in config["Env"] if not one.startswith("PATH=")}
        assert own == {one for one in shlex.split(variables) if not one.startswith("PYTHON")}
        (layer,) = manifest["layers"]
        packed = oci[f"blobs/sha256/{layer['digest'].removeprefix('sha256:')}"]
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            ledger = archive.getmember("var/lib/inference-cost-exporter")
            assert (ledger.uid, ledger.gid, ledger.isdir()) == (65532, 65532, True)
            assert archive.getmember("tmp").mode == 0o1777


def test_each_package_of_debian_is_locked_for_both_architectures() -> None:
    """The same packages in the same versions, each with a hash."""
    both = [debian.locked(architecture) for architecture in debian.ARCHITECTURES]
    assert [[one.name for one in packages] for packages in both] == [list(debian.NAMES)] * 2
    assert [one.version for one in both[0]] == [one.version for one in both[1]]
    assert all(re.fullmatch(r"[0-9a-f]{64}", one.sha256) for packages in both for one in packages)


def test_other_bytes_than_those_locked_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the archive calls them."""
    downloaded = tmp_path / "zlib1g.deb"
    downloaded.write_bytes(b"other")
    monkeypatch.setattr(debian._Apt, "__init__", lambda *_: None)
    monkeypatch.setattr(debian._Apt, "download", lambda *_: downloaded)
    package = debian.Package("zlib1g", "amd64", "1", "0" * 64)
    with pytest.raises(debian.DebianError, match=r"^zlib1g\.deb: sha256 d9298a10d1b0735837dc4bd85dac641b"):
        debian.fetch([package], tmp_path)


def test_provenance_names_each_artifact_and_the_commit(tmp_path: Path) -> None:
    """By digest, as in-toto and SLSA have it, and the same each time."""
    artifact = tmp_path / "a.tgz"
    artifact.write_bytes(b"")
    package = debian.Package("libssl3t64", "arm64", "3.5.9-1~deb13u1+x", "1" * 64)
    provenance = statements.provenance([artifact], ("1.2.3", "abc"), [package], [])
    statement = json.loads(provenance)
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

    assert provenance == statements.provenance([artifact], ("1.2.3", "abc"), [package], [])
    assert statement["subject"] == [{"name": "a.tgz", "digest": {"sha256": empty}}]
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    assert statement["predicate"]["buildDefinition"]["resolvedDependencies"] == [
        {"uri": "git+.", "digest": {"gitCommit": "abc"}},
        {
            "uri": "pkg:deb/debian/libssl3t64@3.5.9-1~deb13u1%2Bx?arch=arm64",
            "digest": {"sha256": "1" * 64},
        },
    ]
    assert statements.checksums([artifact]) == f"{empty}  a.tgz\n".encode()


@pytest.mark.parametrize(
    ("script", "words", "calls"),
    [
        ("postinstall", ["configure"], [f"enable --quiet {UNIT}"]),
        ("postinstall", ["configure", "0.1.0"], []),
        ("postinstall", ["1"], [f"enable --quiet {UNIT}"]),
        ("postinstall", ["2"], []),
        ("postinstall", ["abort-upgrade", "0.1.0"], []),
        ("preremove", ["upgrade", "0.2.0"], []),
        ("preremove", ["remove"], []),
        ("preremove", ["1"], []),
        ("preremove", ["0"], [f"disable --quiet {UNIT}"]),
        ("postremove", ["upgrade", "0.2.0"], []),
        ("preinstall", ["install"], []),
    ],
)
def test_a_script_tells_systemd_only_what_its_case_needs(
    script: str, words: list[str], calls: list[str], tmp_path: Path
) -> None:
    """Where systemd does not run, as in the build of an image; the tests of packages have the other case."""
    if os.path.exists("/run/systemd/system") or os.path.exists("/opt/inference-cost-exporter"):
        pytest.skip("this machine runs systemd or the exporter")
    stub = tmp_path / "systemctl"
    stub.write_text(f'#!/bin/sh\necho "$*" >>{tmp_path}/calls\n')
    stub.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run([SCRIPTS / script, *words], check=True, env=environment)
    log = tmp_path / "calls"
    assert (log.read_text().splitlines() if log.exists() else []) == calls


def test_the_shipped_configuration_is_empty_and_its_comments_are_right(tmp_path: Path) -> None:
    """As shipped it configures nothing; uncommented it is a configuration without a warning."""
    text = (ROOT / "deploy/release/inference-cost-exporter.yaml").read_text()
    assert yaml.safe_load(text) is None
    config = tmp_path / "config.yaml"
    config.write_text(re.sub(r"(?m)^#(?! [A-Z])", "", text))
    done = subprocess.run(
        [sys.executable, "-m", "exporter", "check-config", f"--config.file={config}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert yaml.safe_load(config.read_text()).keys() == {"hardware", "servers", "budgets"}


def test_packages_put_the_unit_and_its_files_where_the_unit_looks() -> None:
    """Program, environment file and configuration; the last two are the administrator's."""
    text = (ROOT / "deploy/release/packages.yaml").read_text()
    contents = {one["dst"]: one for one in yaml.safe_load(text)["contents"]}
    unit = (ROOT / "deploy/systemd" / UNIT).read_text()

    assert "ExecStart=/opt/inference-cost-exporter/bin/inference-cost-exporter" in unit
    assert contents["/opt/inference-cost-exporter"]["type"] == "tree"
    assert contents[f"/usr/lib/systemd/system/{UNIT}"]["src"] == f"deploy/systemd/{UNIT}"
    conffiles = [path for path, one in contents.items() if one.get("type") == "config|noreplace"]
    assert conffiles == ["/etc/default/inference-cost-exporter", "/etc/inference-cost-exporter.yaml"]
    assert "--config.file=/etc/inference-cost-exporter.yaml" in unit
    assert "EnvironmentFile=-/etc/default/inference-cost-exporter" in unit


def test_the_workflow_pins_its_actions_and_has_few_rights() -> None:
    """Each action by commit; nothing is allowed that a job does not name, and no secret is read."""
    text = WORKFLOW.read_text()
    workflow = yaml.safe_load(text)

    assert workflow["permissions"] == {}
    used = re.findall(r"uses: (\S+)", text)
    assert used
    assert [one for one in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", one)] == []
    assert set(re.findall(r"secrets\.(\w+)", text)) <= {"GITHUB_TOKEN"}
    needed = {job["needs"] for job in workflow["jobs"].values() if "needs" in job}
    assert needed == {"build", "sign"} <= workflow["jobs"].keys()
    rights = {name: job["permissions"] for name, job in workflow["jobs"].items()}
    assert rights == {
        "build": {"contents": "read"},
        "sign": {"contents": "write", "id-token": "write"},
        "registry": {"packages": "write", "id-token": "write"},
        "index": {"contents": "read", "id-token": "write"},
    }
