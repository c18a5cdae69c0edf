r"""Proc trees as text, so that a recorded one is a page that can be read and reviewed.

A page begins with `#` lines that say where it is from. Then each file has a line `[PIDS/NAME]`, PIDS being
one or several processes with the same content, or `self`; what follows is the file, with null bytes as `\0`
and line ends as they are, up to the next empty line. Of a link, `-> TARGET` is what it leads to.
Processes that share a socket, or a link `ns/net`, are planted in one network namespace: one file `net/tcp`.
A process without a `status` is root's.

`python -m tests.sources.processes.proc_tree PID...` prints the page of processes of this machine, masked:
container ids and pod uids are replaced by others, values of flags that name keys by `masked`, and of sockets
and addresses only what listens, and what is local, is written down. Environments and open files other than
sockets are not read. Look at it before you give it away.
"""

import hashlib
import re
import sys
from collections.abc import Iterable
from pathlib import Path

FILES = ("stat", "status", "cgroup", "cmdline", "net/tcp", "net/tcp6", "net/fib_trie", "net/if_inet6")

_HEAD = re.compile(r"\[([0-9,]+|self)/([a-z0-9_/]+)\]")
_IDS = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_UIDS = re.compile(r"(?<=pod)[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|(?<=pod)[0-9a-f]{32}")
_KEYS = re.compile(r"(?i)(--?[a-z-]*(?:key|token|password|secret)[a-z-]*[\0=])[^\0]+")


def plant(page: str, root: Path) -> Path:
    """Write a page's files under a folder, and return it."""
    for section in re.split(r"\n\n+", page.rstrip("\n")):
        lines = [line for line in section.split("\n") if not line.startswith("#")]
        if not lines or not lines[0]:
            continue
        head = _HEAD.fullmatch(lines[0])
        assert head is not None, f"not a file's head: {lines[0]}"
        for process in head[1].split(","):
            path = root / process / head[2]
            path.parent.mkdir(parents=True, exist_ok=True)
            if lines[1:] and lines[1].startswith("-> "):
                path.symlink_to(lines[1].removeprefix("-> "))
            else:
                text = "\n".join(lines[1:])
                end = "" if head[2] == "cmdline" else "\n"
                path.write_bytes((text.replace("\\0", "\0") + end).encode())
    _share_networks(root)
    for stat in root.glob("*/stat"):
        if not (status := stat.with_name("status")).exists():
            status.write_text("Uid:\t0\t0\t0\t0\n", encoding="ascii")
    return root


def _share_networks(root: Path) -> None:
    """Make `net/tcp` one file for the processes of one network namespace, as the kernel does."""
    by_name: dict[str, Path] = {}
    for table in sorted(root.glob("*/net/tcp"), key=lambda path: (path.parts[-3] != "self", path)):
        link = table.parents[1] / "ns/net"
        lines = table.read_text(encoding="utf-8").splitlines()[1:]
        six = table.with_name("tcp6")
        lines += six.read_text(encoding="utf-8").splitlines()[1:] if six.exists() else []
        signs = [f"socket {line.split()[9]}" for line in lines if len(line.split()) > 9]
        signs += [str(link.readlink())] if link.is_symlink() else []
        first = next((by_name[sign] for sign in signs if sign in by_name), None)
        if first is not None:
            table.unlink()
            table.hardlink_to(first)
        by_name.update(dict.fromkeys(signs, first or table))


def page(pids: Iterable[int], root: Path = Path("/proc")) -> str:
    """The masked page of some processes and of the reader's own network."""
    files: dict[tuple[str, str], list[str]] = {}
    for process in ("self", *map(str, pids)):
        for name in FILES if process != "self" else FILES[4:]:
            try:
                content = (root / process / name).read_bytes()
            except OSError:
                continue
            files.setdefault((name, masked(name, content.decode(errors="replace"))), []).append(process)
        for link in ("ns/net", *_sockets(root / process)):
            try:
                target = (root / process / link).readlink()
            except OSError:
                continue
            files.setdefault((link, f"-> {target}"), []).append(process)
    blocks = []
    for (name, text), processes in files.items():
        if "self" in processes:
            blocks.append(f"[self/{name}]\n{text}")
        if others := [process for process in processes if process != "self"]:
            blocks.append(f"[{','.join(others)}/{name}]\n{text}")
    return "\n\n".join(blocks) + "\n"


def masked(name: str, text: str) -> str:
    """What of a file is written down."""
    if name == "status":
        return "\n".join(line for line in text.split("\n") if line.startswith("Uid:"))
    if name in ("net/tcp", "net/tcp6"):
        lines = text.rstrip("\n").split("\n")
        return "\n".join(lines[:1] + [line for line in lines[1:] if line.split()[3:4] == ["0A"]])
    if name == "net/fib_trie":
        leaves = re.findall(r"(\|-- \S+)\n\s+/32 host LOCAL", text)
        return "\n".join(f"{leaf}\n   /32 host LOCAL" for leaf in dict.fromkeys(leaves))
    text = _KEYS.sub(r"\1masked", text)
    text = _UIDS.sub(lambda match: _other(match[0]), _IDS.sub(lambda match: _other(match[0]), text))
    return text.replace("\0", "\\0").rstrip("\n")


def _other(digits: str) -> str:
    """Other digits of the same shape, the same ones each time."""
    supply = iter(hashlib.sha256(f"mask {digits}".encode()).hexdigest() * 2)
    return "".join(next(supply) if character in "0123456789abcdef" else character for character in digits)


def _sockets(process: Path) -> list[str]:
    try:
        sockets = [path for path in (process / "fd").iterdir() if str(path.readlink()).startswith("socket:")]
    except OSError:
        return []
    return [f"fd/{path.name}" for path in sorted(sockets)]


if __name__ == "__main__":
    sys.stdout.write(page(int(argument) for argument in sys.argv[1:]))
