"""`make release`: every artifact of the commit that is checked out, the same bytes each time, into dist/.

Wheel, sdist, image, chart, packages, dashboards and rules, bill of materials, provenance, checksums.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from deploy.release import debian, environment, image, packages, statements
from deploy.release.archive import Entry, gzipped, tar
from exporter.version import REVISION, UNKNOWN, VERSION

CACHE: Final = Path(".cache/release")
TOOLS: Final = Path(".cache/packing/bin")
RUNTIME: Final = Path("requirements/runtime.lock")
LOCKS: Final = (RUNTIME, Path("requirements/release.lock"), debian.LOCK.relative_to(Path.cwd()))
NAME: Final = "inference-cost-exporter"
CHART: Final = Path("deploy/helm") / NAME
WATCHING: Final = (
    "dashboards/*.json",
    "deploy/alertmanager/*",
    "deploy/grafana/*",
    "deploy/prometheus/*-rules.yml",
    "docs/runbooks/*.md",
)
NAMING: Final = {
    "CHANGELOG.md": r"^## \[(\d\S*)\]",
    f"{CHART}/Chart.yaml": r"^(?:appV|v)ersion: (\S+)",
    "deploy/kubernetes/daemonset.yaml": rf"image: {NAME}:(\S+)",
    "deploy/compose/compose.yaml": rf"image: {NAME}:(\S+)",
}
"""Files that name the version, and how."""


class RefusedError(Exception):
    """No release is built from this tree; the message says why, and what to do."""


def chart_version(version: str) -> str:
    """As SemVer: 0.2.0.dev3+gabc1234 is 0.2.0-dev.3+gabc1234."""
    return re.sub(r"\.dev(\d+)", r"-dev.\1", version)


def image_tag(version: str) -> str:
    """As registries take it: 0.2.0-dev.3-gabc1234."""
    return chart_version(version).replace("+", "-")


def reason_not_to(changes: str, version: str, named: dict[str, str]) -> str:
    """Why no release is built, or nothing: by `git status --porcelain`, and the version that files name."""
    if changes:
        some = ", ".join(line[3:] for line in changes.splitlines()[:3])
        return f"the tree has uncommitted changes ({some}): commit or remove them, then try again"
    if version == UNKNOWN[0]:
        return "git says no version: a release is built in a checkout, and its tags are vMAJOR.MINOR.PATCH"
    wrong = [
        f"{file} names {version_there}" for file, version_there in named.items() if version_there != version
    ]
    if "dev" not in version and wrong:
        return f"the tag is v{version}, but {', '.join(wrong)}: correct them and move the tag"
    return ""


def named_versions() -> dict[str, str]:
    """The version that each file names, `CHANGELOG.md` its newest."""
    return {
        file: re.findall(pattern, Path(file).read_text(encoding="utf-8"), re.MULTILINE)[0]
        for file, pattern in NAMING.items()
    }


def chart(version: str, epoch: int) -> bytes:
    """The chart as `helm package` makes it, of this version, and with the image's tag as its appVersion."""
    contents = []
    for path in _tracked(str(CHART)):
        inside = path.relative_to(CHART)
        if inside.parts[0] in {"ci", ".helmignore"}:
            continue
        content = path.read_bytes()
        if inside.name == "Chart.yaml":
            text = re.sub(r"(?m)^version: .*$", f"version: {chart_version(version)}", content.decode())
            content = re.sub(r"(?m)^appVersion: .*$", f"appVersion: {image_tag(version)}", text).encode()
        contents.append(Entry(f"{NAME}/{inside}", content))
    return gzipped(tar(contents, epoch))


def watching(version: str, epoch: int) -> bytes:
    """Dashboards, rules, the Alertmanager's routes and the runbooks."""
    return gzipped(tar([Entry(f"{NAME}-{version}/{path}", path) for path in _tracked(*WATCHING)], epoch))


def release(out: Path) -> list[Path]:
    """Build everything into an empty folder; the files, by name.

    Raises:
        RefusedError: the tree is not what a version could name.
    """
    changes = _git("status", "--porcelain")
    if why := reason_not_to(changes, VERSION, named_versions()):
        raise RefusedError(why)
    version = (VERSION, REVISION)
    epoch = int(_git("log", "-1", "--format=%ct"))
    created = datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)

    subprocess.run(
        [TOOLS / "python", "-m", "hatchling", "build", "--directory", out],
        check=True,
        capture_output=True,
        env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch)},
    )
    (out / f"{NAME}-{chart_version(VERSION)}.tgz").write_bytes(chart(VERSION, epoch))
    (out / f"{NAME}-{VERSION}-dashboards-and-rules.tar.gz").write_bytes(watching(VERSION, epoch))
    locked = [package for architecture in debian.ARCHITECTURES for package in debian.locked(architecture)]
    with tempfile.TemporaryDirectory() as work:
        folders = {name: Path(work) / name for name in debian.ARCHITECTURES}
        for name, folder in folders.items():
            debs = debian.fetch(debian.locked(name), CACHE)
            environment.build(folder, name, debs, version, TOOLS.absolute(), RUNTIME)
        environment.compile_all(folders.values(), folders[environment.this_architecture()])
        for name, folder in folders.items():
            environment.level(folder, epoch)
            packages.build(folder, name, VERSION, epoch, TOOLS, out)
        content = image.archive(folders, version, image_tag(VERSION), created, epoch)
        (out / f"{NAME}-{image_tag(VERSION)}-image.oci.tar").write_bytes(content)
    bill = statements.bill_of_materials(TOOLS, RUNTIME, locked, VERSION)
    (out / f"{NAME}-{VERSION}.cdx.json").write_bytes(bill)
    built = sorted(out.iterdir())
    statement = statements.provenance(built, version, locked, LOCKS)
    (out / f"{NAME}-{VERSION}.intoto.json").write_bytes(statement)
    files = sorted(out.iterdir())
    (out / statements.SUMS).write_bytes(statements.checksums(files))
    return [*files, out / statements.SUMS]


def _tracked(*patterns: str) -> list[Path]:
    return [Path(name) for name in _git("ls-files", "-z", *patterns).split("\0") if name]


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], check=True, capture_output=True, text=True).stdout.rstrip("\n")


def main() -> int:
    """Exit status 0, or 1 where no release is built."""
    parser = argparse.ArgumentParser(prog="make release", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("dist"), help="folder to write to, which is emptied")
    arguments = parser.parse_args()
    try:
        files = release(arguments.out)
    except (RefusedError, debian.DebianError) as refused:
        print(f"make release: {refused}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as failed:
        print(f"make release: {failed}\n{failed.stderr or b''!r}", file=sys.stderr)
        return 1
    for file in files:
        print(f"{file.stat().st_size:>12,} {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
