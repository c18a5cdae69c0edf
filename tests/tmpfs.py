"""A file system of a megabyte for one command: a tmpfs in a mount namespace of its own."""

import subprocess
from functools import cache
from pathlib import Path

_MOUNT = 'mount -t tmpfs -o size=1m,mode=0755 small "$0" && exec "$@"'

_KUBELET = (
    'mount -t tmpfs kubelet /var/lib && mkdir /var/lib/kubelet && ln -s "$0" /var/lib/kubelet/pod-resources '
    '&& exec "$@"'
)


def command(folder: Path, *argv: str) -> list[str]:
    """The command, begun with a small disk mounted on a folder, which only it and its children see."""
    return [*namespace(), "sh", "-c", _MOUNT, str(folder), *argv]


def with_kubelet(sockets: Path, *argv: str) -> list[str]:
    """The command, begun where a folder is the kubelet's folder of sockets."""
    return [*namespace(), "sh", "-c", _KUBELET, str(sockets), *argv]


@cache
def namespace() -> tuple[str, ...]:
    """Begins a command in a mount namespace of its own: as root, else as root of a user namespace.

    The first way that works, or what never does.
    """
    ways = (("unshare", "--mount"), ("unshare", "--mount", "--map-root-user"))
    return next((way for way in ways if _works(way)), ("false",))


@cache
def mountable() -> bool:
    """Whether this host lets these tests mount something."""
    return namespace() != ("false",)


def _works(way: tuple[str, ...]) -> bool:
    try:
        tried = subprocess.run(
            [*way, "sh", "-c", _MOUNT, "/mnt", "true"], capture_output=True, timeout=30, check=False
        )
    except OSError:
        return False
    return tried.returncode == 0


def fill(folder: Path) -> Path:
    """Take all the room that is left on the small disk; the file that takes it."""
    ballast = folder / "ballast"
    with ballast.open("ab", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            return ballast
