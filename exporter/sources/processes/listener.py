"""Whether a connection to an address of this host ends at the listener that was judged.

The port of a server that ends is anybody's within a microsecond. Who listens is therefore checked at each
connection, before the first byte is sent. In the daemon's own network the kernel says which socket takes a
connection (sock_diag(7)), in microseconds. Of another network namespace the table of sockets is read, in
milliseconds, since the kernel goes through all connections of the host.
"""

import ipaddress
import os
import re
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass, replace
from errno import ENOENT
from typing import Final

from exporter.sources.processes import procfs

TABLE_BYTES: Final = 4 * 1_048_576
"""Read of one table in which our connection is sought: 28,000 connections."""

NETLINK_SOCK_DIAG: Final = 4
SOCK_DIAG_BY_FAMILY: Final = 20
NLM_F_REQUEST: Final = 1
NLMSG_ERROR: Final = 2
ANY_COOKIE: Final = b"\xff" * 8
"""Numbers of linux/netlink.h, linux/sock_diag.h and linux/inet_diag.h."""

_CREDENTIALS: Final = struct.Struct("=iII")
"""Process, user and group of `struct ucred`."""

_CLIENT: Final = re.compile(rb": [0-9A-F]+:[0-9A-F]{4} ([0-9A-F]+:[0-9A-F]{4}) ")
"""The second of the two addresses of each connection."""

REPLY_BYTES: Final = 8192
REPLY_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class ExpectedListener:
    """Who may answer at an address of this host."""

    sockets: frozenset[procfs.ListeningSocket] | None = None
    """The sockets that listen there; `None` where any socket of `users` may, as long as it stays the same."""
    users: frozenset[int] = frozenset()
    """The uids of which any socket may answer."""
    process: int | str = "self"
    """A process in whose network namespace the address is."""
    network: int | None = None
    """The number of that namespace, `None` for the one that the process is in."""
    unprivileged: bool = False
    """Whether users may have made that namespace, with any addresses and connections that they like."""
    earlier: frozenset[bytes] | None = frozenset()
    """The clients of its connections before this one; `None` where they are too many to tell."""

    def judged(self, host: str, port: int, proc: procfs.Proc | None = None) -> "ExpectedListener":
        """It, with what is there before a connection: the sockets of its users, copies of connections."""
        proc = proc or procfs.Proc()
        if self.sockets is None:
            if host == "localhost":
                host = loopback_address(port, self.users)
            accepting, _ = self._accepting(proc, host, port, None)
            return replace(self, sockets=frozenset(taker for taker in accepting if taker.user in self.users))
        if not self.unprivileged:
            return self
        tables = [proc.read(self.process, table, TABLE_BYTES) or b"" for table in _tables(host)]
        clients = frozenset(client for table in tables for client in _CLIENT.findall(table))
        return replace(self, earlier=None if TABLE_BYTES in map(len, tables) else clients)

    def fault(self, connection: socket.socket, proc: procfs.Proc | None = None) -> str:
        """Why a connection does not end at this listener; empty where it does.

        In the daemon's own network it must be local. In one that is neither that nor the host's, the
        connection itself must be among its sockets, whatever addresses its owner gave it. A UNIX socket has
        the user who listens (SO_PEERCRED of unix(7)).
        """
        if connection.family == socket.AF_UNIX:
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            _, user, _ = _CREDENTIALS.unpack(credentials)
            return "" if user in self.users else f"uid {user} listens there"
        proc = proc or procfs.Proc()
        host, port = _address(connection.getpeername())
        client = _address(connection.getsockname())
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        accepting, ends_there = self._accepting(proc, host, port, client)
        # Last: the process may have ended, and its id be another's, while its table was read.
        network = proc.network(self.process)
        if network is None or self.network not in (None, network):
            return "its process has ended"
        if not accepting:
            return f"nothing that can be seen listens at {address}"
        others = accepting - (self.sockets or frozenset())
        if others:
            user = min(other.user for other in others)
            return f"another socket than its own listens at {address}, of uid {user}"
        return "" if ends_there else f"our connection to {address} does not end in its network"

    def _accepting(
        self, proc: procfs.Proc, host: str, port: int, client: tuple[str, int] | None
    ) -> tuple[frozenset[procfs.ListeningSocket], bool]:
        """The sockets that take a connection to an address, and whether that of `client` is in their network.

        It is in the host's, to which nobody but root gives an address.
        """
        network = proc.network(self.process)
        if network == proc.network("self"):
            is_local = client is None or client[0] == host or procfs.loopback(host)
            return listening_here(host, port, proc), is_local
        if network == proc.network(1):
            client = None
        for table in _tables(host):
            row = None if client is None else _row_of(client, table)
            enough = procfs.past_listeners if row is None else row.search
            content = proc.read(self.process, table, TABLE_BYTES, enough) or b""
            accepting = takers(procfs.listeners(content), host, port)
            if not accepting:
                continue
            if row is None:
                return accepting, True
            ours = row.search(content)
            # No other connection was there under its name before.
            is_new = ours is not None and self.earlier is not None and ours[1] not in self.earlier
            return accepting, is_new
        return frozenset(), False


def _row_of(client: tuple[str, int], table: str) -> re.Pattern[bytes]:
    """The row of a connection from an address, which is the second of its two addresses."""
    host, port = client
    address = ipaddress.ip_address(host)
    if table == "net/tcp6" and address.version == 4:
        address = ipaddress.ip_address(f"::ffff:{host}")
    # The kernel prints words of 32 bits in the order of the host, little-endian.
    words = (address.packed[at : at + 4][::-1] for at in range(0, len(address.packed), 4))
    name = b"%s:%04X" % (b"".join(words).hex().upper().encode(), port)
    return re.compile(rb": [0-9A-F]+:[0-9A-F]{4} (%s) " % name)


def root(process: int | str = "self") -> ExpectedListener:
    """Root, in the network of a process; or the daemon's own user, who may read what the daemon may."""
    return ExpectedListener(users=frozenset({0, os.geteuid()}), process=process)


def takers(
    sockets: Iterable[procfs.ListeningSocket], host: str, port: int
) -> frozenset[procfs.ListeningSocket]:
    """The sockets of a network that a connection to an address may end at.

    The kernel takes those of the exact address, else those of all addresses, of the same family first
    (compute_score of net/ipv4/inet_hashtables.c). `::` takes IPv4 too unless it is for IPv6 only, which no
    table shows.
    """
    at_port = [listening for listening in sockets if listening.port == port]
    for bound in (host, procfs.ANY6) if ":" in host else (host, procfs.ANY4, procfs.ANY6):
        accepting = frozenset(listening for listening in at_port if listening.host == bound)
        if accepting:
            return accepting
    return frozenset()


def listening_here(
    host: str, port: int, proc: procfs.Proc | None = None
) -> frozenset[procfs.ListeningSocket]:
    """The sockets of the daemon's own network that take a connection to an address."""
    try:
        taker = _taker(host, port)
    except OSError:  # no netlink, as in some sandboxes
        return takers((proc or procfs.Proc()).listeners("self"), host, port)
    return frozenset(() if taker is None else (taker,))


def loopback_address(port: int, users: frozenset[int]) -> str:
    """The address that `localhost` is: of the family at which one of `users`, without any whoever, listens.

    Empty where users of both families differ: none of them is believed.
    """
    uids = {host: {taker.user for taker in listening_here(host, port)} for host in procfs.LOOPBACKS}
    hosts = [host for host, accepting in uids.items() if accepting and (not users or accepting <= users)]
    if not users and len(set[int]().union(*uids.values())) > 1:
        return ""
    return hosts[0] if hosts else procfs.LOOPBACKS[0]


def _taker(host: str, port: int) -> procfs.ListeningSocket | None:
    """The socket of this network that the kernel would give a connection to an address.

    Raises:
        OSError: the kernel does not say.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    address = socket.inet_pton(family, host).ljust(16, b"\0")
    identity = struct.pack(">HH", port, 0) + address + bytes(20) + ANY_COOKIE
    request = struct.pack("=BBBBI", family, socket.IPPROTO_TCP, 0, 0, 1 << procfs.LISTEN) + identity
    header = struct.pack("=IHHII", 16 + len(request), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 0, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(REPLY_SECONDS)
        kernel.send(header + request)
        reply = kernel.recv(REPLY_BYTES)
    kind = struct.unpack_from("=H", reply, 4)[0]
    if kind == NLMSG_ERROR:
        (error,) = struct.unpack_from("=i", reply, 16)
        if -error == ENOENT:
            return None
        raise OSError(-error, os.strerror(-error))
    family, state, _, _ = struct.unpack_from("=BBBB", reply, 16)
    if kind != SOCK_DIAG_BY_FAMILY or state != procfs.LISTEN:
        return None
    (bound_port,) = struct.unpack_from(">H", reply, 20)
    bound = reply[24:40] if family == socket.AF_INET6 else reply[24:28]
    user, inode = struct.unpack_from("=II", reply, 80)
    return procfs.ListeningSocket(procfs.bound_host(bound), bound_port, inode, user)


def _tables(host: str) -> tuple[str, ...]:
    return ("net/tcp6",) if ":" in host else ("net/tcp", "net/tcp6")


def _address(name: tuple[object, ...]) -> tuple[str, int]:
    """Host and port of one end of a connection, without the interface of an IPv6 address."""
    host, port = name[:2]
    return str(host).partition("%")[0], int(str(port))
