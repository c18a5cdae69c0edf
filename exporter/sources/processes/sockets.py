"""What a network namespace's files say: who listens, and its addresses. Pure; never raises."""

import ipaddress
import re
from typing import Final, NamedTuple

SOCKET_BYTES: Final = 1_048_576
"""Read of one table of sockets, 150 bytes a line. Listeners come first (tcp_get_idx, net/ipv4/tcp_ipv4.c)."""

ADDRESS_BYTES: Final = 262_144
"""Read of one table of addresses."""

LISTENERS_MAX: Final = 1024
ADDRESSES_MAX: Final = 16
"""Kept of one namespace."""

_LISTEN: Final = "0A"
"""TCP_LISTEN of include/net/tcp_states.h."""

_SOCKET: Final = re.compile(r"socket:\[([0-9]{1,20})\]")
_LEAF: Final = re.compile(r"[ |+]*\|-- ([0-9.]{7,15})")
_TENTATIVE: Final = 0x40 | 0x08
"""IFA_F_TENTATIVE and IFA_F_DADFAILED of linux/if_addr.h: an address that is not, or not yet, usable."""


class Listener(NamedTuple):
    """One listening TCP socket. `host` is the address it is bound to, empty for all; `user` opened it."""

    host: str
    port: int
    inode: int
    user: int


def listeners(content: bytes) -> tuple[Listener, ...]:
    """The listening sockets of a `net/tcp` or `net/tcp6`; lines that are none are passed over."""
    found = []
    for line in content[:SOCKET_BYTES].decode("ascii", errors="replace").split("\n"):
        fields = line.split()
        if len(fields) < 10 or fields[3] != _LISTEN:
            continue
        listener = _listener(fields[1], fields[7], fields[9])
        if listener is not None:
            found.append(listener)
            if len(found) == LISTENERS_MAX:
                break
    return tuple(found)


def past_listeners(part: bytes) -> bool:
    """Whether the last whole line of a part of a table is of another socket, after which none listens."""
    fields = part.rpartition(b"\n")[0].rpartition(b"\n")[2].split()
    return len(fields) > 9 and re.fullmatch(rb"[0-9A-F]{2}", fields[3]) is not None and fields[3] != b"0A"


def socket(link: str) -> int | None:
    """The socket that a descriptor's link names, as the tables of sockets number it."""
    found = _SOCKET.fullmatch(link)
    return int(found[1]) if found else None


def addresses4(content: bytes) -> tuple[str, ...]:
    """The addresses of a namespace by its `net/fib_trie`: leaves that are local to the host.

    Loopback and link-local ones, by which nobody else is reached, are left out.
    """
    found: dict[str, None] = {}
    leaf = ""
    for line in content[:ADDRESS_BYTES].decode("ascii", errors="replace").split("\n"):
        if match := _LEAF.fullmatch(line.rstrip()):
            leaf = match[1]
        elif leaf and line.split() == ["/32", "host", "LOCAL"] and _useful(leaf):
            found[leaf] = None
    return tuple(found)[:ADDRESSES_MAX]


def addresses6(content: bytes) -> tuple[str, ...]:
    """The global addresses of a namespace by its `net/if_inet6`."""
    found: dict[str, None] = {}
    for line in content[:ADDRESS_BYTES].decode("ascii", errors="replace").split("\n"):
        fields = line.split()
        if len(fields) != 6 or not re.fullmatch(r"[0-9a-f]{32}", fields[0]):
            continue
        if re.fullmatch(r"[0-9a-f]{2,8}", fields[4]) and not int(fields[4], 16) & _TENTATIVE:
            text = str(ipaddress.IPv6Address(int(fields[0], 16)))
            if _useful(text):
                found[text] = None
    return tuple(found)[:ADDRESSES_MAX]


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


def _listener(local: str, user: str, inode: str) -> Listener | None:
    address, _, port = local.partition(":")
    if not re.fullmatch(r"[0-9A-F]{8}|[0-9A-F]{32}", address) or not re.fullmatch(r"[0-9A-F]{4}", port):
        return None
    if not re.fullmatch(r"[0-9]{1,20}", inode) or not re.fullmatch(r"[0-9]{1,10}", user):
        return None
    return Listener(_host(address), int(port, 16), int(inode), int(user))


def _host(text: str) -> str:
    """An address as the kernel prints it: words of 32 bits in the order of the host, little-endian."""
    raw = b"".join(bytes.fromhex(text[at : at + 8])[::-1] for at in range(0, len(text), 8))
    address = ipaddress.ip_address(raw)
    mapped = getattr(address, "ipv4_mapped", None) or address
    return "" if mapped.is_unspecified else str(mapped)
