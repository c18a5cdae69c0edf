"""Packages of Debian 13 for both architectures, each by the version and hash of debian.lock.

They are what our own Python is made of. apt brings them into a folder, without the machine's state.

    python -m deploy.release.debian --lock    pins the newest versions
"""

import argparse
import hashlib
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

LOCK: Final = Path(__file__).with_name("debian.lock")
ARCHITECTURES: Final = ("amd64", "arm64")
NAMES: Final = (
    "base-files",
    "libbz2-1.0",
    "libc6",
    "libexpat1",
    "libffi8",
    "libgcc-s1",
    "liblzma5",
    "libpython3.13-minimal",
    "libpython3.13-stdlib",
    "libsqlite3-0",
    "libssl3t64",
    "libuuid1",
    "libzstd1",
    "python3.13-minimal",
    "zlib1g",
)
"""Python 3.13, what its modules link to, and the file that names the release."""


class DebianError(Exception):
    """A package is not to be had as it is locked; the message says which, and what to do."""


class Package(NamedTuple):
    """One line of the lock."""

    name: str
    architecture: str
    version: str
    sha256: str


def locked(architecture: str) -> list[Package]:
    """The packages of one architecture, by name."""
    lines = [line for line in LOCK.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    packages = [Package(*line.split()) for line in lines]
    return [package for package in packages if package.architecture == architecture]


def fetch(packages: Sequence[Package], cache: Path) -> list[Path]:
    """The files of packages, in their order; those that are in the cache are not fetched again.

    Raises:
        DebianError: the archive has another version by now, or other bytes.
    """
    files = [
        cache / f"{package.name}_{package.architecture}_{package.sha256[:16]}.deb" for package in packages
    ]
    missing = [(package, file) for package, file in zip(packages, files, strict=True) if not file.exists()]
    apt = _Apt(cache / "apt") if missing else None
    for package, file in missing:
        assert apt is not None  # noqa: S101 - for mypy
        downloaded = apt.download(package.name, package.architecture, package.version)
        if (digest := _sha256(downloaded)) != package.sha256:
            raise DebianError(f"{downloaded.name}: sha256 {digest}, and debian.lock has {package.sha256}")
        downloaded.rename(file)
    return files


def lock(cache: Path) -> str:
    """The text of the lock with the newest versions."""
    apt = _Apt(cache / "apt")
    rows = []
    for name in NAMES:
        for architecture in ARCHITECTURES:
            file = apt.download(name, architecture, "")
            fields = subprocess.run(
                ["dpkg-deb", "--field", file, "Version"], check=True, capture_output=True, text=True
            )
            rows.append(f"{name} {architecture} {fields.stdout.strip()} {_sha256(file)}\n")
    return "# python -m deploy.release.debian --lock\n" + "".join(rows)


class _Apt:
    """apt with a state of its own, for both architectures, and this machine's sources."""

    def __init__(self, folder: Path) -> None:
        """Read the lists of the sources.

        Raises:
            DebianError: there is no apt, or it found nothing.
        """
        self._folder = folder.absolute()
        for part in ("lists/partial", "cache/archives/partial", "debs"):
            (self._folder / part).mkdir(parents=True, exist_ok=True)
        (self._folder / "status").touch()
        self._config = self._folder / "apt.conf"
        self._config.write_text(
            f'Dir::State "{self._folder}";\nDir::State::status "{self._folder}/status";\n'
            f'Dir::Cache "{self._folder}/cache";\nAPT::Architecture "amd64";\n'
            'APT::Architectures {"amd64"; "arm64";};\nAPT::Sandbox::User "";\n',
            encoding="utf-8",
        )
        self._run("update", "--quiet=2")

    def download(self, name: str, architecture: str, version: str) -> Path:
        """The file of one package, in a version or the newest."""
        before = set((self._folder / "debs").iterdir())
        wanted = f"{name}:{architecture}{version and '='}{version}"
        self._run("download", "--quiet=2", wanted)
        (file,) = set((self._folder / "debs").iterdir()) - before
        return file

    def _run(self, *words: str) -> None:
        command = ["apt-get", "--config-file", str(self._config), *words]
        try:
            subprocess.run(command, cwd=self._folder / "debs", check=True, capture_output=True, text=True)
        except FileNotFoundError:
            raise DebianError("missing: apt-get; a release is built on Debian 13") from None
        except subprocess.CalledProcessError as error:
            raise DebianError(
                f"{' '.join(words)}: {error.stderr.strip()}\n"
                "A release is built on Debian 13. If the archive has replaced a version: "
                "python -m deploy.release.debian --lock"
            ) from None


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m deploy.release.debian")
    parser.add_argument("--lock", action="store_true", required=True, help="pin the newest versions")
    parser.parse_args()
    LOCK.write_text(lock(Path(".cache/release")), encoding="utf-8")
