"""The .deb and .rpm of one architecture, by nfpm from packages.yaml: the same contents and scripts."""

import os
import re
import string
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

TEMPLATE: Final = Path(__file__).with_name("packages.yaml")
RPM_MACHINES: Final = {"amd64": "x86_64", "arm64": "aarch64"}


def package_version(version: str) -> str:
    """As dpkg and rpm order it: 0.2.0~dev3+gabc1234 comes before 0.2.0."""
    return re.sub(r"\.dev", "~dev", version, count=1)


def build(folder: Path, architecture: str, version: str, epoch: int, tools: Path, out: Path) -> None:
    """Write both packages into `out`."""
    named = package_version(version)
    text = string.Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        ARCHITECTURE=architecture,
        PACKAGE_VERSION=named,
        TIME=datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        FOLDER=f"{folder}/",
    )
    config = folder.with_name(f"{folder.name}.packages.yaml")
    config.write_text(text, encoding="utf-8")
    files = {
        "deb": f"inference-cost-exporter_{named}-1_{architecture}.deb",
        "rpm": f"inference-cost-exporter-{named}-1.{RPM_MACHINES[architecture]}.rpm",
    }
    for kind, name in files.items():
        subprocess.run(
            [tools / "nfpm", "package", "--config", config, "--packager", kind, "--target", out / name],
            check=True,
            capture_output=True,
            env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch)},
        )
    config.unlink()
