"""Where to listen, and what is said when that cannot be."""

import errno
import socket
from collections.abc import Iterator

import pytest

from exporter.web.listen_address import AddressError, ListenAddress, ListenError, listen, parse_address


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (":9844", ListenAddress("", 9844)),
        (":0", ListenAddress("", 0)),
        ("127.0.0.1:9844", ListenAddress("127.0.0.1", 9844)),
        ("0.0.0.0:65535", ListenAddress("0.0.0.0", 65535)),  # noqa: S104
        ("[::1]:9844", ListenAddress("::1", 9844)),
        ("[::]:9844", ListenAddress("::", 9844)),
        ("[fe80::1%eth0]:9844", ListenAddress("fe80::1%eth0", 9844)),
        ("localhost:9844", ListenAddress("localhost", 9844)),
        ("node-1.example.com:80", ListenAddress("node-1.example.com", 80)),
    ],
)
def test_an_address_is_read_and_printed_back(text: str, expected: ListenAddress) -> None:
    """Host and port; no host is every address."""
    assert parse_address(text) == expected
    assert str(expected) == text


@pytest.mark.parametrize(
    "text",
    ["", "9844", "127.0.0.1", "::1:9844", ":", ":-1", ":65536", ":99999999", ":98 44", "[]:1",
     "[localhost]:1", "http://localhost:9844", "host :1", ":9844/", ":٣", "localhost:9844\n"],
)  # fmt: skip
def test_what_is_no_address_is_refused_with_examples(text: str) -> None:
    """The message shows what an address looks like."""
    with pytest.raises(AddressError, match=r"expected :9844, 127\.0\.0\.1:9844 or \[::1\]:9844"):
        parse_address(text)


def test_a_port_in_use_is_said_with_what_to_do(taken: int) -> None:
    """The message names the port, how to see who holds it, and the flag."""
    with pytest.raises(ListenError) as raised:
        listen(ListenAddress("127.0.0.1", taken), 1)

    assert str(raised.value) == (
        f"cannot listen on 127.0.0.1:{taken}: the port is in use. "
        f"`ss -ltnp 'sport = :{taken}'` shows by whom; "
        "stop it or choose another --web.listen-address"
    )


def test_an_address_of_another_machine_is_said() -> None:
    """192.0.2.0/24 (RFC 5737) is nobody's."""
    with pytest.raises(ListenError, match="no interface of this machine has that address"):
        listen(ListenAddress("192.0.2.1", 0), 1)


def test_an_unknown_host_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the resolver does not know it, or it cannot be a name and is not even asked for."""
    with pytest.raises(ListenError, match=r"cannot listen on a\.\.b:0: the host is not known"):
        listen(ListenAddress("a..b", 0), 1)

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(ListenError, match="cannot listen on nowhere:0: the host is not known"):
        listen(ListenAddress("nowhere", 0), 1)


def test_a_port_that_needs_privileges_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ports below 1024, for who is not root."""

    def denied(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", denied)
    with pytest.raises(ListenError, match="ports below 1024 need privileges"):
        listen(ListenAddress("127.0.0.1", 80), 1)


def test_every_address_takes_ipv4() -> None:
    """`:port` answers on IPv4 also where the socket is an IPv6 one."""
    with listen(ListenAddress("", 0), 1) as everywhere:
        port = everywhere.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass


def test_a_machine_without_ipv6_is_listened_on_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where IPv6 is switched off, `:port` is every IPv4 address."""
    monkeypatch.setattr("exporter.web.listen_address._has_ipv6", lambda: False)
    with listen(ListenAddress("", 0), 1) as everywhere:
        assert everywhere.family == socket.AF_INET
