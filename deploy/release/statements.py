"""What a release says of itself: bill of materials (CycloneDX), provenance (in-toto, SLSA) and checksums.

Provenance has no time and no builder but its own commands: two builds say the same. Hosted CI signs it.
"""

import hashlib
import json
import subprocess
import urllib.parse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from deploy.release.debian import Package

STATEMENT: Final = "https://in-toto.io/Statement/v1"
PREDICATE: Final = "https://slsa.dev/provenance/v1"
BUILD_TYPE: Final = "urn:inference-cost-exporter:make-release:v1"
SUMS: Final = "SHA256SUMS"


def bill_of_materials(tools: Path, lock: Path, packages: Sequence[Package], version: str) -> bytes:
    """All parts of packages and image: the locked wheels, and what is from Debian."""
    done = subprocess.run(
        [
            *(
                tools / "cyclonedx-py",
                "requirements",
                "--pyproject",
                "pyproject.toml",
                "--output-reproducible",
            ),
            *("--output-file", "-", lock),
        ],
        check=True,
        capture_output=True,
        env={"PYTHONWARNINGS": "ignore"},
    )
    bill: dict[str, Any] = json.loads(done.stdout)
    bill["metadata"]["component"]["version"] = version
    for package in packages:
        url = _url(package)
        bill["components"].append(
            {
                "type": "library",
                "bom-ref": url,
                "purl": url,
                "name": package.name,
                "version": package.version,
                "hashes": [{"alg": "SHA-256", "content": package.sha256}],
            }
        )
    return _text(bill)


def provenance(
    artifacts: Sequence[Path], version: tuple[str, str], packages: Sequence[Package], locks: Sequence[Path]
) -> bytes:
    """What the artifacts were built from: the commit, what it locks, and Debian's packages."""
    materials: list[dict[str, Any]] = [
        {"uri": "git+.", "digest": {"gitCommit": version[1]}},
        *({"uri": f"file:{lock}", "digest": {"sha256": digest(lock)}} for lock in locks),
        *(
            {
                "uri": _url(package),
                "digest": {"sha256": package.sha256},
            }
            for package in packages
        ),
    ]
    statement = {
        "_type": STATEMENT,
        "subject": [{"name": file.name, "digest": {"sha256": digest(file)}} for file in artifacts],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"command": "make release", "version": version[0]},
                "resolvedDependencies": materials,
            },
            "runDetails": {"builder": {"id": "urn:inference-cost-exporter:deploy/release"}},
        },
    }
    return _text(statement)


def checksums(files: Sequence[Path]) -> bytes:
    """As `sha256sum --check` reads them."""
    return "".join(f"{digest(file)}  {file.name}\n" for file in files).encode()


def digest(file: Path) -> str:
    """The SHA-256 of a file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _url(package: Package) -> str:
    """As package-url has it."""
    version = urllib.parse.quote(package.version, safe=":~")
    return f"pkg:deb/debian/{package.name}@{version}?arch={package.architecture}"


def _text(document: object) -> bytes:
    return (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()
