"""Bounded reads of a proc tree.

psutil lists the processes, and the addresses of the daemon's network. The rest is read here: psutil reads
whole command lines, which a process makes as long as it likes; it looks up sockets in the reader's own
network namespace, whatever the process; it knows no cgroups; and its `uids` believes a process that is named
`Uid:` and numbers.
The tests compare these reads with psutil's.
"""

import contextlib
import ipaddress
import os
import re
from collections import Counter
from collections.abc import Callable
from errno import EACCES, ENOENT, EPERM, ESRCH
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

import psutil

from exporter.units import NANOSECONDS_PER_SECOND, Nanoseconds

CHUNK_BYTES: Final = 65_536
"""One read of a file that may be long; the kernel hands out a page or a few at a time."""

INITIAL_PID_NAMESPACE: Final = "pid:[4026531836]"
"""PROC_PID_INIT_INO of include/linux/proc_ns.h."""

_REASONS: Final = {EACCES: "denied", EPERM: "denied", ENOENT: "ended", ESRCH: "ended"}


class Proc:
    """One proc tree. A file that cannot be read is `None`, and counts in `failures` by reason.

    `denied`: this user may not; `ended`: the process is gone; `unreadable`: anything else.
    """

    def __init__(self, root: Path = Path("/proc")) -> None:
        self._root = os.fspath(root)
        self.failures: Counter[str] = Counter()

    def pids(self, limit: int) -> list[int]:
        """The processes that can be seen, in the order of their ids, at most `limit`.

        Raises:
            OSError: there is no such folder, or it may not be listed.
        """
        psutil.PROCFS_PATH = self._root
        try:
            numbers = psutil.pids()
        except IndexError:  # psutil expects its own process at least
            return []
        if len(numbers) > limit:
            self.failures["limit"] += 1
        return numbers[:limit]

    def read(
        self, process: int | str, name: str, limit: int, enough: Callable[[bytes], object] | None = None
    ) -> bytes | None:
        """The first `limit` bytes of a file of a process, `self` included; fewer once a part is `enough`."""
        content = bytearray()
        try:
            file = os.open(f"{self._root}/{process}/{name}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                while len(content) < limit:
                    part = os.read(file, min(CHUNK_BYTES, limit - len(content)))
                    if not part:
                        break
                    content += part
                    if enough is not None and enough(part):
                        break
            finally:
                os.close(file)
        except OSError as failure:
            self.failures[_REASONS.get(failure.errno or 0, "unreadable")] += 1
            return None
        return bytes(content)

    def listeners(self, process: int | str) -> tuple["ListeningSocket", ...]:
        """The sockets that listen in the network of a process, but for a table that cannot be read."""
        by_inode: dict[int, ListeningSocket] = {}
        for table in TABLES:
            content = self.read(process, table, SOCKET_BYTES, past_listeners) or b""
            self.failures["truncated"] += len(content) == SOCKET_BYTES
            by_inode.update({socket.inode: socket for socket in listeners(content)})
        return tuple(sorted(by_inode.values(), key=lambda socket: (socket.port, socket.inode)))

    def tasks(self, process: int, limit: int) -> tuple[int, ...]:
        """The threads of a process, at most `limit`; none where it is gone."""
        try:
            with os.scandir(f"{self._root}/{process}/task") as entries:
                return tuple(int(entry.name) for entry in islice(entries, limit) if entry.name.isdecimal())
        except OSError:
            return ()

    def network(self, process: int | str) -> int | None:
        """The number of a process's network namespace, `None` where it is gone.

        It is the inode of its `net/tcp`, which the kernel makes once per namespace (proc_create_net of
        fs/proc/proc_net.c). Reading it needs no right to trace, as following `ns/net` does.
        """
        try:
            return os.stat(f"{self._root}/{process}/net/tcp").st_ino  # noqa: PTH116 - hundreds at a time
        except OSError:
            return None

    def sockets(self, process: int | str, limit: int) -> frozenset[int] | None:
        """The sockets that a process has open, as the tables of sockets number them.

        At most `limit` open files are read. `None` where they may not be read: root without capabilities may
        list the files of root's processes, and not follow them.
        """
        inodes: set[int] = set()
        try:
            with os.scandir(f"{self._root}/{process}/fd") as entries:
                for entry in islice(entries, limit):
                    try:
                        link = _SOCKET.fullmatch(os.readlink(entry.path))  # noqa: PTH115 - hundreds at a time
                    except FileNotFoundError:  # closed meanwhile
                        continue
                    if link is not None:
                        inodes.add(int(link[1]))
        except OSError:
            return None
        return frozenset(inodes)

    def blindness(self) -> str:
        """Why processes that exist may not be seen here: `namespace`, `hidden`, or empty for neither."""
        with contextlib.suppress(OSError):
            if os.readlink(f"{self._root}/self/ns/pid") != INITIAL_PID_NAMESPACE:  # noqa: PTH115 - as others
                return "namespace"
        mounts = self.read("self", "mountinfo", CHUNK_BYTES) or b""
        lines = (line.decode(errors="replace").split(" ") for line in mounts.splitlines())
        options = [fields[-1].split(",") for fields in lines if len(fields) > 4 and fields[4] == self._root]
        # The last mount covers those before it. Its option is a number or a name (proc(5), hidepid).
        last = options[-1] if options else []
        values = [option.partition("=")[2] for option in last if option.startswith("hidepid=")]
        return "hidden" if any(value not in ("0", "off") for value in values) else ""


STAT_BYTES: Final = 4096
"""Fifty numbers and a name of 64 bytes at most."""

_USER: Final = re.compile(rb"^Uid:\t([0-9]{1,10})\t\1\t\1\t\1$", re.MULTILINE)
"""Real, effective, saved, and the file system's."""

STATUS_BYTES: Final = 4096
"""Read of a `status`: the uids are in its ninth line."""

COMMAND_BYTES: Final = 4096
"""Read of one command line. A longer one is cut after its last whole word."""

WORD_CHARACTERS: Final = 1024
"""Kept of one word; a path can be as long."""

KERNEL_THREAD: Final = 0x0020_0000
"""PF_KTHREAD of include/linux/sched.h, in the ninth field."""

TICK: Final[Nanoseconds] = NANOSECONDS_PER_SECOND // (os.sysconf("SC_CLK_TCK") or 100)
"""The unit of a start time."""

LARGEST_TICKS: Final = 2**63 // TICK


def is_line(part: bytes) -> bool:
    """Whether a part of a file ends a line: of a file of one, whose end then need not be read."""
    return part.endswith(b"\n")


class Stat(NamedTuple):
    """One line of proc(5)'s `stat`. `started` is in boot time, as `Clock.elapsed`."""

    pid: int
    name: str
    state: str
    parent: int
    session: int
    kernel: bool
    started: Nanoseconds


def stat(content: bytes) -> Stat | None:
    """Read a `stat`; `None` for what is none. The name may hold spaces, parentheses and line ends."""
    opened = content.find(b"(")
    closed = content.rfind(b")")
    if not 0 < opened < closed:
        return None
    fields = content[closed + 1 :].split()
    try:
        pid = int(content[:opened])
        parent = int(fields[1])
        session = int(fields[3])
        flags = int(fields[6])
        ticks = int(fields[19])
    except (ValueError, IndexError):
        return None
    if not fields[19].isdigit() or ticks > LARGEST_TICKS:
        return None
    return Stat(
        pid=pid,
        name=content[opened + 1 : closed].decode(errors="replace"),
        state=fields[0].decode(errors="replace"),
        parent=parent,
        session=session,
        kernel=bool(flags & KERNEL_THREAD),
        started=ticks * TICK,
    )


def user(content: bytes) -> int | None:
    """The user of a process by its `status`, `None` where that is not one.

    A program that runs as another user than the one who started it (setuid) has the words of the one on its
    command line and the sockets of the other.
    """
    match = _USER.search(content)
    return int(match[1]) if match else None


def command_line(content: bytes) -> tuple[str, ...]:
    """The words of a `cmdline`, at most `COMMAND_BYTES` of it.

    A process that writes a title over its command line leaves one word, padded with nulls or spaces.
    """
    whole = len(content) < COMMAND_BYTES or content.endswith(b"\0")
    words = content[:COMMAND_BYTES].rstrip(b"\0 ").split(b"\0")
    if not whole and len(words) > 1:
        words.pop()  # `--port 80` may have been `--port 8001`
    if words == [b""]:
        return ()
    return tuple(word[: 4 * WORD_CHARACTERS].decode(errors="replace")[:WORD_CHARACTERS] for word in words)


SOCKET_BYTES: Final = 1_048_576
"""Read of one table of sockets, 150 bytes a line. Listeners come first (tcp_get_idx, net/ipv4/tcp_ipv4.c)."""

TABLES: Final = ("net/tcp", "net/tcp6")
"""The tables of sockets of a namespace."""

ADDRESS_BYTES: Final = 262_144
"""Read of one table of addresses."""

LISTENERS_MAX: Final = 1024
"""Kept of one user in one table."""

ADDRESSES_MAX: Final = 16
"""Kept of one namespace."""

LISTEN: Final = 10
"""TCP_LISTEN of include/net/tcp_states.h."""

ANY4: Final = ""
ANY6: Final = "::"
"""The addresses of sockets that are bound to all, of IPv4 and of IPv6."""

LOOPBACKS: Final = ("127.0.0.1", "::1")
"""What `localhost` may be."""

_SOCKET: Final = re.compile(r"socket:\[([0-9]{1,20})\]")
_LOCAL: Final = re.compile(r"([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4})")
_UID: Final = re.compile(r"[0-9]{1,10}")
_INODE: Final = re.compile(r"[0-9]{1,20}")
_LEAF: Final = re.compile(r"[ |+]*\|-- ([0-9.]{7,15})")
_TENTATIVE: Final = 0x40 | 0x08
"""IFA_F_TENTATIVE and IFA_F_DADFAILED of linux/if_addr.h: an address that is not, or not yet, usable."""


class ListeningSocket(NamedTuple):
    """One listening TCP socket. `host` is the address it is bound to; `user` opened it."""

    host: str
    port: int
    inode: int
    user: int


def listeners(content: bytes) -> tuple[ListeningSocket, ...]:
    """The listening sockets of a `net/tcp` or `net/tcp6`; lines that are none are passed over."""
    sockets = []
    by_user: Counter[str] = Counter()
    for line in content[:SOCKET_BYTES].decode("ascii", errors="replace").split("\n"):
        fields = line.split()
        if len(fields) < 10 or fields[3] != f"{LISTEN:02X}":
            continue
        local = _LOCAL.fullmatch(fields[1])
        user = fields[7]
        inode = fields[9]
        if local is None or not _UID.fullmatch(user) or not _INODE.fullmatch(inode):
            continue
        by_user[user] += 1
        if by_user[user] <= LISTENERS_MAX:
            # The kernel prints words of 32 bits in the order of the host, little-endian.
            words = (bytes.fromhex(local[1][at : at + 8]) for at in range(0, len(local[1]), 8))
            host = bound_host(b"".join(word[::-1] for word in words))
            sockets.append(ListeningSocket(host, int(local[2], 16), int(inode), int(user)))
    return tuple(sockets)


PART_BYTES: Final = 3072
"""The kernel fills a page with rows before it hands it out (seq_read_iter of fs/seq_file.c)."""


def past_listeners(part: bytes) -> bool:
    """Whether the last whole line of a part of a table is of another socket, after which none listens.

    A part that is short is the last one: another read would go through all connections of the host again.
    """
    if len(part) < PART_BYTES:
        return True
    fields = part.rpartition(b"\n")[0].rpartition(b"\n")[2].split()
    return len(fields) > 9 and re.fullmatch(rb"[0-9A-F]{2}", fields[3]) is not None and fields[3] != b"0A"


def addresses4(content: bytes) -> tuple[str, ...]:
    """The addresses of a namespace by its `net/fib_trie`: leaves that are local to the host.

    Loopback and link-local ones, by which nobody else is reached, are left out.
    """
    addresses: dict[str, None] = {}
    leaf = ""
    for line in content[:ADDRESS_BYTES].decode("ascii", errors="replace").split("\n"):
        match = _LEAF.fullmatch(line.rstrip())
        if match is not None:
            leaf = match[1]
        elif leaf and line.split() == ["/32", "host", "LOCAL"] and _useful(leaf):
            addresses[leaf] = None
    return tuple(addresses)[:ADDRESSES_MAX]


def addresses6(content: bytes) -> tuple[str, ...]:
    """The global addresses of a namespace by its `net/if_inet6`."""
    addresses: dict[str, None] = {}
    for line in content[:ADDRESS_BYTES].decode("ascii", errors="replace").split("\n"):
        fields = line.split()
        if len(fields) != 6 or not re.fullmatch(r"[0-9a-f]{32}", fields[0]):
            continue
        if re.fullmatch(r"[0-9a-f]{2,8}", fields[4]) and not int(fields[4], 16) & _TENTATIVE:
            text = str(ipaddress.IPv6Address(int(fields[0], 16)))
            if _useful(text):
                addresses[text] = None
    return tuple(addresses)[:ADDRESSES_MAX]


def own_loopbacks() -> tuple[str, ...]:
    """The loopback addresses of this network; one without IPv6 has no ::1."""
    own = {address.address for addresses in psutil.net_if_addrs().values() for address in addresses}
    return LOOPBACKS if "::1" in own else LOOPBACKS[:1]


def loopback(host: str) -> bool:
    """Whether an address is reached from its own namespace only."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _useful(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not (
        address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast
    )


def bound_host(raw: bytes) -> str:
    """The address that a socket is bound to, by its 4 or 16 bytes."""
    address = ipaddress.ip_address(raw)
    host = getattr(address, "ipv4_mapped", None) or address
    return ANY4 if host == ipaddress.IPv4Address(0) else str(host)
