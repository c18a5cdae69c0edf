"""Version and revision of this program.

A build writes both into `version.txt` beside this file (deploy/release, deploy/docker).
A checkout has no such file and asks git: each commit has its own version, and uncommitted changes show.
Run as a script, it prints both.
"""

import os
import re
import subprocess
from pathlib import Path
from typing import Final

GIT_SECONDS: Final = 60
"""Git reads every file of a new checkout, which takes more than 10 s on a busy machine."""
UNKNOWN: Final = ("0+unknown", "")
"""Of files without a build and without git; the local version of PEP 440 says so."""

_DESCRIBED = re.compile(
    r"(?:v(?P<major>\d+)\.(?P<minor>\d+)\.(?P<patch>\d+)-(?P<commits>\d+)-g)?(?P<revision>[0-9a-f]{40})"
    r"(?P<dirty>-dirty)?"
)


def described_version(described: str, all_commits: int) -> tuple[str, str]:
    """Version (PEP 440) and revision of what `git describe --tags --long --always --dirty --abbrev=40` says.

    A commit with the tag v0.1.0 is version 0.1.0. The third commit past it is 0.2.0.dev3+gabc1234, on the way
    to the next minor version. Without a tag, `all_commits` are past 0.0.0. Uncommitted changes add `.dirty`.

    Raises:
        ValueError: it is none of these forms, as of a tag that is no vMAJOR.MINOR.PATCH.
    """
    parts = _DESCRIBED.fullmatch(described)
    if parts is None:
        raise ValueError(f"{described}: a version tag is vMAJOR.MINOR.PATCH")
    major, minor, patch = (int(parts[part] or 0) for part in ("major", "minor", "patch"))
    commits = all_commits if parts["commits"] is None else int(parts["commits"])
    revision, dirty = parts["revision"], bool(parts["dirty"])
    if commits == 0 and not dirty:
        return f"{major}.{minor}.{patch}", revision
    local = f"g{revision[:7]}{'.dirty' if dirty else ''}"
    return f"{major}.{minor + 1}.0.dev{commits}+{local}", revision


def version_of(package: Path) -> tuple[str, str]:
    """Version and revision of the files in a folder `exporter`; `UNKNOWN` where nothing says."""
    try:
        version, _, revision = (package / "version.txt").read_text(encoding="ascii").strip().partition(" ")
    except FileNotFoundError:
        pass
    else:
        return version, revision
    if not os.path.lexists(package.parent / ".git"):  # a repository around an installation is not ours
        return UNKNOWN
    try:
        described = _git(
            package.parent,
            *("describe", "--tags", "--long", "--always", "--dirty", "--abbrev=40", "--match=v[0-9]*"),
        )
        untagged = "-g" not in described
        return described_version(
            described, int(_git(package.parent, "rev-list", "--count", "HEAD")) if untagged else 0
        )
    except (OSError, subprocess.SubprocessError, ValueError):
        return UNKNOWN


def _git(checkout: Path, *words: str) -> str:
    """What git prints in a checkout; it writes nothing there, and follows no variable to another one."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(  # noqa: S603 - fixed words
        ["git", "-C", str(checkout), *words],  # noqa: S607 - git is found on PATH, as everywhere
        env=environment | {"GIT_OPTIONAL_LOCKS": "0"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
        text=True,
        timeout=GIT_SECONDS,
    )
    return done.stdout.strip()


VERSION, REVISION = version_of(Path(__file__).parent)

if __name__ == "__main__":
    print(VERSION, REVISION)  # noqa: T201 - it is what the script is for
