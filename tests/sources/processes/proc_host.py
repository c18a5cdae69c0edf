"""A proc tree written file by file, for what no recorded tree shows."""

import ipaddress
import shutil
from collections.abc import Iterable
from pathlib import Path

TABLE = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
ANY = "0.0.0.0"  # noqa: S104 - written, not bound
OURS = (ANY, 9844, 9844)

Socket = tuple[str, int, int] | tuple[str, int, int, int]
"""Address, port, inode, and the user where that is not root."""


def row(address: str, port: int, inode: int, user: int = 0, state: str = "0A") -> str:
    """A line of net/tcp or net/tcp6, as net/ipv4/tcp_ipv4.c prints it on a little-endian machine."""
    raw = ipaddress.ip_address(address).packed
    words = "".join(raw[at : at + 4][::-1].hex().upper() for at in range(0, len(raw), 4))
    return f"   0: {words}:{port:04X} {'0' * 8}:0000 {state} 0:0 00:0 0  {user} 0 {inode} 1 0 100 0 0 10 0\n"


class ProcHost:
    """Writes processes. Each has its own line of descent, session and start unless they are given.

    `network` is what listens in the process's namespace; who has a socket in common is in one namespace.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._sockets: dict[str, frozenset[Socket]] = {}
        self.network("self", OURS)

    def process(
        self,
        pid: int,
        *argv: str,
        parent: int = 1,
        session: int | None = None,
        ticks: int | None = None,
        cgroup: str = "0::/",
        name: str | None = None,
        network: tuple[Socket, ...] = (OURS,),
        state: str = "S",
        user: int | None = 0,
    ) -> None:
        """One process; without a user it runs as another one than the one who started it."""
        folder = self.root / str(pid)
        folder.mkdir(exist_ok=True)
        name = name if name is not None else argv[0].rpartition("/")[2][:15] if argv else ""
        session = pid if session is None else session
        fields = f"{state} {parent} {pid} {session} 0 -1 4194304" + " 0" * 12 + f" {ticks or pid} 0 0"
        (folder / "stat").write_text(f"{pid} ({name}) {fields}\n", encoding="utf-8")
        (folder / "cgroup").write_text(cgroup + "\n", encoding="utf-8")
        (folder / "cmdline").write_bytes("".join(f"{word}\0" for word in argv).encode())
        uids = "1001\t0\t0\t0" if user is None else f"{user}\t{user}\t{user}\t{user}"  # setuid
        (folder / "status").write_text(f"Name:\tx\nUid:\t{uids}\nGid:\t0\t0\t0\t0\n", encoding="ascii")
        self.network(pid, *network)

    def end_first_thread(self, pid: int) -> None:
        """The first thread of a process ends, and another one goes on (pthread_exit)."""
        folder = self.root / str(pid)
        thread = folder / "task" / str(pid + 1)
        thread.mkdir(parents=True)
        for name in ("stat", "cgroup", "cmdline", "status"):
            shutil.copy(folder / name, thread / name)
        first = folder / "stat"
        first.write_text(first.read_text(encoding="utf-8").replace(") S ", ") Z "), encoding="utf-8")
        (folder / "cmdline").write_bytes(b"")

    def end(self, pid: int) -> None:
        """A process ends; its network stays as long as another is in it."""
        shutil.rmtree(self.root / str(pid))
        del self._sockets[str(pid)]

    def network(self, pid: int | str, *sockets: Socket) -> None:
        """What listens in a process's network namespace."""
        self._sockets.pop(str(pid), None)
        inodes = {socket[2] for socket in sockets}
        others = {
            name: theirs
            for name, theirs in self._sockets.items()
            if not inodes.isdisjoint(socket[2] for socket in theirs)
        }
        everything = frozenset(sockets).union(*others.values())
        shared = next((name for name, theirs in others.items() if theirs == everything), "")
        self._sockets[str(pid)] = everything
        if shared:
            self._link(shared, str(pid))
            return
        self._write(str(pid), everything)
        for name in others:
            self._sockets[name] = everything
            self._link(str(pid), name)

    def _write(self, pid: str, sockets: Iterable[Socket]) -> None:
        folder = self.root / pid / "net"
        folder.mkdir(parents=True, exist_ok=True)
        for name, six in (("tcp", False), ("tcp6", True)):
            rows = [row(*socket) for socket in sorted(sockets) if (":" in socket[0]) == six]
            if (folder / name).exists() and (folder / name).stat().st_nlink > 1:
                (folder / name).unlink()
            (folder / name).write_text(TABLE + "".join(rows), encoding="ascii")

    def _link(self, target: str, pid: str) -> None:
        """One namespace has one table, which its inode tells."""
        folder = self.root / pid / "net"
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("tcp", "tcp6"):
            (folder / name).unlink(missing_ok=True)
            (folder / name).hardlink_to(self.root / target / "net" / name)

    def addresses(self, pid: int, *addresses: str) -> None:
        """The addresses of a process's network namespace, IPv4."""
        leaves = "".join(f"     |-- {address}\n        /32 host LOCAL\n" for address in addresses)
        (self.root / str(pid) / "net/fib_trie").write_text("Local:\n" + leaves, encoding="ascii")

    def open(self, pid: int, *links: str) -> None:
        """The open files of a process, which its reader may follow."""
        folder = self.root / str(pid) / "fd"
        folder.mkdir()
        for number, link in enumerate(links):
            (folder / str(number)).symlink_to(link)
