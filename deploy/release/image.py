"""The image of both architectures as one OCI archive, as `skopeo copy --all` and `podman load` read it.

Nothing runs and no base is fetched: a layer is the environment, with the few files of a system that it needs.
Settings are those of deploy/docker/Dockerfile, for those who build upon a base of their own.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from deploy.release.archive import Entry, entries, gzipped, tar
from deploy.release.environment import HOME

USER: Final = 65532
NAME: Final = "inference-cost-exporter"
PORT: Final = "9844/tcp"
LEDGER: Final = "var/lib/inference-cost-exporter"
DESCRIPTION: Final = "Cost of LLM inference on this host's GPUs, for Prometheus"
VARIABLES: Final = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "NVIDIA_VISIBLE_DEVICES": "all",
    "NVIDIA_DRIVER_CAPABILITIES": "utility",
    "HEALTH_URL": "http://127.0.0.1:9844/-/healthy",
}
MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
INDEX: Final = "application/vnd.oci.image.index.v1+json"
CONFIG: Final = "application/vnd.oci.image.config.v1+json"
LAYER: Final = "application/vnd.oci.image.layer.v1.tar+gzip"


def archive(
    folders: Mapping[str, Path], version: tuple[str, str], tag: str, created: str, epoch: int
) -> bytes:
    """The archive; `folders` are environments by architecture, `created` is RFC 3339."""
    blobs: dict[str, bytes] = {}

    def blob(media_type: str, content: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        blobs[digest] = content
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    labels = {
        f"org.opencontainers.image.{name}": value
        for name, value in (
            ("title", NAME),
            ("description", DESCRIPTION),
            ("licenses", "Apache-2.0"),
            ("version", version[0]),
            ("revision", version[1]),
        )
    }
    manifests = []
    for architecture, folder in folders.items():
        layer = tar(_files(folder), epoch)
        config = {
            "architecture": architecture,
            "os": "linux",
            "created": created,
            "config": {
                "User": f"{USER}:{USER}",
                "ExposedPorts": {PORT: {}},
                "Env": [f"{name}={value}" for name, value in VARIABLES.items()],
                "Entrypoint": ["/usr/local/bin/inference-cost-exporter"],
                "WorkingDir": "/",
                "Labels": labels,
            },
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
            "history": [{"created": created, "created_by": "make release"}],
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": blob(CONFIG, _json(config)),
            "layers": [blob(LAYER, gzipped(layer))],
            "annotations": labels,
        }
        described = blob(MANIFEST, _json(manifest))
        manifests.append({**described, "platform": {"architecture": architecture, "os": "linux"}})
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests, "annotations": labels}
    reference = {**blob(INDEX, _json(index)), "annotations": {"org.opencontainers.image.ref.name": tag}}
    top = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [reference]}
    contents = [Entry("oci-layout", _json({"imageLayoutVersion": "1.0.0"})), Entry("index.json", _json(top))]
    contents += [Entry(f"blobs/sha256/{digest}", content) for digest, content in blobs.items()]
    return tar(contents, epoch)


def _files(folder: Path) -> list[Entry]:
    """The environment, and what programs expect of a system: users, a name, a place for temporary files."""
    home = str(HOME).lstrip("/")
    users = f"root:x:0:0:root:/:/sbin/nologin\nnonroot:x:{USER}:{USER}:nonroot:/:/sbin/nologin\n"
    return [
        *entries(folder, home),
        Entry(f"{home}/healthcheck.py", Path("deploy/docker/healthcheck.py")),
        Entry(
            "usr/local/bin/inference-cost-exporter", link=f"{HOME}/bin/inference-cost-exporter", mode=0o777
        ),
        Entry("usr/local/bin/python3", link=f"{HOME}/bin/python3", mode=0o777),
        Entry("etc/passwd", users.encode()),
        Entry("etc/group", f"root:x:0:\nnonroot:x:{USER}:\n".encode()),
        Entry("etc/nsswitch.conf", b"hosts: files dns\n"),
        # NVIDIA's runtime puts its libraries where a system of this name has them.
        Entry("etc/debian_version", folder / "share" / "debian_version"),
        Entry("etc/os-release", folder / "share" / "os-release"),
        Entry("tmp", mode=0o1777),
        Entry(LEDGER, mode=0o755, owner=USER),
    ]


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
