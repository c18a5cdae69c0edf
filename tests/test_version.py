"""Version and revision: of a tag, of commits past it, of changes, of a build, and of files without any."""

import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from exporter.version import UNKNOWN, described_version, version_of
from tests import next_release

ROOT = Path(__file__).parents[1]
COMMIT = "abc1234def5678abc1234def5678abc1234def56"


@pytest.mark.parametrize(
    ("described", "version"),
    [
        (f"v0.1.0-0-g{COMMIT}", "0.1.0"),
        (f"v0.1.0-3-g{COMMIT}", "0.2.0.dev3+gabc1234"),
        (f"v1.9.2-12-g{COMMIT}", "1.10.0.dev12+gabc1234"),
        (f"v0.1.0-0-g{COMMIT}-dirty", "0.2.0.dev0+gabc1234.dirty"),
        (f"v0.1.0-3-g{COMMIT}-dirty", "0.2.0.dev3+gabc1234.dirty"),
        (COMMIT, "0.1.0.dev41+gabc1234"),
    ],
)
def test_a_version_says_how_far_past_its_tag_it_is(described: str, version: str) -> None:
    """Only the tagged commit itself, unchanged, has the tag's version."""
    assert described_version(described, 41) == (version, COMMIT)


@pytest.mark.parametrize(
    "described", ["", "v1.0-3-g" + COMMIT, "v1.0.0rc1-0-g" + COMMIT, "v0.1.0", "v0.1.0-3-gabc"]
)
def test_another_form_of_tag_is_no_version(described: str) -> None:
    """The message names it, and the form that a tag has."""
    with pytest.raises(ValueError, match=rf"^{re.escape(described)}: a version tag is vMAJOR.MINOR.PATCH$"):
        described_version(described, 41)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository of one commit, with a package."""
    (tmp_path / "exporter").mkdir()
    (tmp_path / "exporter" / "a.py").write_text("")
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    commit(tmp_path)
    return tmp_path


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.com", "-c", "tag.gpgSign=false")
    done = subprocess.run(
        ["git", "-C", folder, *identity, *words], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def commit(folder: Path) -> str:
    """One commit more of everything; its hash."""
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--no-gpg-sign", "--message=x")
    return git(folder, "rev-parse", "HEAD")


def test_a_checkout_asks_git(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Untagged, at a tag, past it and changed; a variable of another repository is not followed."""
    monkeypatch.setenv("GIT_DIR", str(ROOT / ".git"))
    package = checkout / "exporter"
    monkeypatch.delenv("GIT_DIR")
    first = git(checkout, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(checkout / "nowhere"))

    assert version_of(package) == (f"0.1.0.dev1+g{first[:7]}", first)
    monkeypatch.delenv("GIT_DIR")
    git(checkout, "tag", "v1.2.3")
    assert version_of(package) == ("1.2.3", first)
    second = commit(checkout)
    assert version_of(package) == (f"1.3.0.dev1+g{second[:7]}", second)
    (package / "a.py").write_text("x = 1\n")
    assert version_of(package) == (f"1.3.0.dev1+g{second[:7]}.dirty", second)


def test_what_a_build_wrote_comes_first(checkout: Path) -> None:
    """An image in which someone runs git says what it was built from."""
    (checkout / "exporter" / "version.txt").write_text(f"2.0.0 {COMMIT}\n")
    assert version_of(checkout / "exporter") == ("2.0.0", COMMIT)
    (checkout / "exporter" / "version.txt").write_text("2.0.0\n")
    assert version_of(checkout / "exporter") == ("2.0.0", "")


def test_files_of_unknown_origin_have_no_version(
    tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without git, below somebody else's repository, and where git is not there or will not say."""
    assert version_of(tmp_path / "nowhere" / "exporter") == UNKNOWN
    assert version_of(checkout / "exporter" / "site-packages") == UNKNOWN
    git(checkout, "tag", "v1.0")
    assert version_of(checkout / "exporter") == UNKNOWN
    git(checkout, "tag", "--delete", "v1.0")
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert version_of(checkout / "exporter") == UNKNOWN


@pytest.mark.nightly
def test_wheel_and_sdist_carry_both(tmp_path: Path) -> None:
    """Also a wheel that is built from the sdist, where there is no git."""

    def build(folder: Path, *words: str) -> None:
        subprocess.run(
            [sys.executable, "-m", "hatchling", "build", "--directory", tmp_path / "dist", *words],
            cwd=folder,
            check=True,
            capture_output=True,
        )

    version, revision = version_of(ROOT / "exporter")
    build(ROOT)
    (sdist,) = (tmp_path / "dist").glob("*.tar.gz")
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read("exporter/version.txt").decode() == f"{version} {revision}\n"
    assert wheel.name == f"inference_cost_exporter-{version}-py3-none-any.whl"
    wheel.unlink()

    with tarfile.open(sdist) as sources:
        sources.extractall(tmp_path / "sources", filter="data")
    build(tmp_path / "sources" / sdist.name.removesuffix(".tar.gz"), "--target=wheel")
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read("exporter/version.txt").decode() == f"{version} {revision}\n"


def test_a_tagged_tree_is_the_version_that_its_files_name() -> None:
    """CHANGELOG.md, chart and manifests name the next release, or at a tag the tag's."""
    version, _ = version_of(ROOT / "exporter")
    tagged = re.fullmatch(r"\d+\.\d+\.\d+", version)
    assert tagged is None or version == next_release.VERSION
