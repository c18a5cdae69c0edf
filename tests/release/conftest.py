"""Artifacts of a tag, built twice, and of the commit after it: by `make release` in clones."""

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from deploy.release import debian
from tests import next_release
from tests.fake_nvml.library import FakeNvml
from tests.fake_nvml.scenario import Scenario, h100s
from tests.release.roots import MinimalHost
from tests.rights import CONTAINERS

ROOT = Path(__file__).parents[2]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--built", type=Path, help="folder to keep the builds in, and to take them from")


class Builds(NamedTuple):
    """Folders of artifacts."""

    tagged: Path
    again: Path
    later: Path
    revision: str
    """Of the commit after the tag."""


class Clone:
    """A repository of what is committed here."""

    def __init__(self, folder: Path, of: Path = ROOT) -> None:
        self.folder = folder
        subprocess.run(["git", "clone", "--quiet", "--no-tags", of, folder], check=True)
        (folder / ".cache").symlink_to(ROOT / ".cache")

    def git(self, *words: str) -> str:
        """What git prints there."""
        identity = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.com")
        command = ["git", "-C", str(self.folder), *identity, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def prepare(self) -> None:
        """Bring Debian's packages into the cache that all clones share."""
        names = debian.ARCHITECTURES
        debian.fetch([one for name in names for one in debian.locked(name)], ROOT / ".cache/release")

    def release(self, out: Path) -> "subprocess.CompletedProcess[str]":
        """`make release` there."""
        return subprocess.run(
            ["make", "release", f"ARGS=--out={out}"],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
        )


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    return Clone(tmp_path_factory.mktemp("clone") / "repository")


@pytest.fixture(scope="session")
def builds(request: pytest.FixtureRequest, clone: Clone, tmp_path_factory: pytest.TempPathFactory) -> Builds:
    """Each artifact of a tag, of the same in another folder, and of a commit later."""
    built: Path | None = request.config.getoption("--built")
    folder = built or tmp_path_factory.mktemp("artifacts")
    made = Builds(folder / "tagged", folder / "again", folder / "later", "")
    if not (folder / "revision").exists():
        outs = (made.tagged, made.again, made.later)
        clones = [Clone(tmp_path_factory.mktemp("of") / out.name, clone.folder) for out in outs]
        for one in clones:
            one.git("tag", f"v{next_release.VERSION}")
        clones[-1].git("commit", "--quiet", "--allow-empty", "--no-gpg-sign", "--message=later")
        clones[0].prepare()  # once for all
        with ThreadPoolExecutor(len(outs)) as pool:
            for done in pool.map(Clone.release, clones, outs):
                assert done.returncode == 0, done.stdout + done.stderr
        (folder / "revision").write_text(clones[-1].git("rev-parse", "HEAD"))
    return made._replace(revision=(folder / "revision").read_text())


@pytest.fixture(params=["debian-12", "debian-13"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MinimalHost]:
    """A minimal host of each Debian, with two GPUs."""
    if os.geteuid() != 0:
        pytest.skip(CONTAINERS)
    fake = FakeNvml(tmp_path, Scenario(h100s(2, utilization=40, power_mw=700_000)))
    made = MinimalHost(request.param, tmp_path, fake.library, fake.scenario_path)
    yield made
    made.close()


@pytest.fixture(scope="session")
def artifact() -> Callable[[Path, str], Path]:
    """The one file of a folder whose name fits."""

    def find(folder: Path, pattern: str) -> Path:
        (only,) = (path for path in folder.iterdir() if re.search(pattern, path.name))
        return only

    return find
