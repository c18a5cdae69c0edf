"""Basic authentication: who is let in, what it costs, and what is kept in memory."""

import base64
import builtins
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bcrypt
import pytest

from exporter.config import ConfigError
from exporter.web import passwords as passwords_module
from exporter.web.passwords import MOST_WAITING, MOST_WAITING_FROM_ONE, Passwords, Verdict, bcrypt_check
from exporter.web.server import REFUSALS
from tests.web.certificates import Authority, first_bytes, request

Serve = Callable[..., Any]

HASH = b"$2y$04$abcdefghijklmnopqrstuuXHfmlkZAIaXzjVyHmjUaKzGEDyg7Vfu"
PASSWORDS = {"prometheus": "s3cret", "grafana": "b\u00e4r:colon"}


def hashed(password: str, cost: int = 4) -> str:
    """A hash, of the least cost unless told; as `htpasswd -B` and Go write it."""
    made = bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode()
    return made.replace("$2b$", "$2y$")


def basic(user: str, password: str) -> str:
    """The header that a client sends."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("passwords") / "web.yml"
    users = "".join(f"  {name}: {hashed(password)}\n" for name, password in PASSWORDS.items())
    file.write_text(f"basic_auth_users:\n{users}")
    return file


@pytest.fixture
def guarded(serve: Serve, web: Path, make_report: Callable[..., Any]) -> Any:
    return serve(make_report(), web=web)


class Slow:
    """A comparison that counts, and takes as long as the test wants."""

    def __init__(self, right: bytes = b"s3cret") -> None:
        self.right = right
        self.checked: list[tuple[bytes, bytes]] = []
        self.entries = threading.Semaphore(0)
        self.go = threading.Event()
        self.go.set()

    def __call__(self, password: bytes, hashed: bytes) -> bool:
        self.checked.append((password, hashed))
        self.entries.release()
        assert self.go.wait(30)
        return password == self.right and hashed == HASH


@pytest.mark.parametrize("user", PASSWORDS)
def test_the_right_password_is_let_in(user: str, guarded: Any) -> None:
    """By each user's own, with a colon and letters that are not ASCII."""
    status, _, body = guarded.request("GET", "/metrics", Authorization=basic(user, PASSWORDS[user]))

    assert (status, b"inference_cost_dollars_total" in body) == (200, True)


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Basic",
        "Basic ",
        "Basic !!!",
        "Basic \u00e4",
        "Basic " + base64.b64encode(b"no colon").decode(),
        "Bearer s3cret",
        basic("prometheus", "wrong"),
        basic("prometheus", ""),
        basic("prometheus", "s3cre"),
        basic("prometheus", "S3CRET"),
        basic("prometheus", PASSWORDS["grafana"]),
        basic("prometheus:s3cret", ""),
        basic("nobody", "s3cret"),
        basic("", "s3cret"),
        basic("prometheus", "s3cret\0"),
        basic("prometheus", "x" * 8000),
    ],
    ids=str,
)
@pytest.mark.parametrize("path", ["/", "/metrics", "/cost.json", "/nothing"])
def test_everything_else_is_not(authorization: str | None, path: str, guarded: Any) -> None:
    """The same answer for each, whether or not the path exists."""
    headers = {} if authorization is None else {"Authorization": authorization.encode().decode("latin-1")}
    status, received, body = guarded.request("GET", path, **headers)

    assert (status, body) == (401, b"a user and a password are needed\n")
    assert received["www-authenticate"] == 'Basic realm="inference-cost-exporter", charset="UTF-8"'


def test_a_reload_needs_the_password_too(guarded: Any) -> None:
    """And a browser that knows it, sent by another site, is refused all the same."""
    right = basic("prometheus", "s3cret")

    assert guarded.request("POST", "/-/reload")[0] == 401
    assert guarded.request("POST", "/-/reload", Authorization=right, Origin="https://evil.example")[0] == 403
    assert guarded.reloads == 0
    assert guarded.request("POST", "/-/reload", Authorization=right)[0] == 200
    assert guarded.reloads == 1


@pytest.mark.parametrize("path", ["/-/healthy", "/-/ready"])
def test_probes_need_no_password(path: str, guarded: Any) -> None:
    """A kubelet has none, and they tell nothing of money."""
    assert guarded.request("GET", path)[0] == 200


def test_a_right_password_is_looked_at_once() -> None:
    """Bcrypt is slow on purpose; a wrong one after it is looked at all the same."""
    check = Slow()
    passwords = Passwords({"prometheus": HASH}, check)

    verdicts = [passwords.verdict(basic("prometheus", "s3cret"), "a") for _ in range(100)]
    assert set(verdicts) == {Verdict.GRANTED}
    assert check.checked == [(b"s3cret", HASH)]
    assert passwords.verdict(basic("prometheus", "wrong"), "a") is Verdict.WRONG
    assert passwords.verdict(basic("prometheus", "wrong"), "a") is Verdict.WRONG
    assert len(check.checked) == 3
    assert passwords.verdict(basic("prometheus", "s3cret"), "a") is Verdict.GRANTED
    assert len(check.checked) == 3


def test_an_unknown_user_costs_the_same_and_is_never_let_in() -> None:
    """The hash of a user who exists is looked at in its place, and a match counts for nothing."""
    check = Slow()
    passwords = Passwords({"prometheus": HASH}, check)

    assert passwords.verdict(basic("nobody", "s3cret"), "a") is Verdict.WRONG
    assert check.checked == [(b"s3cret", HASH)]


def test_no_password_is_kept() -> None:
    """What is remembered is a hash under a key of this process: another one's is another."""
    made = [Passwords({"prometheus": HASH}, Slow()) for _ in range(2)]
    for passwords in made:
        assert passwords.verdict(basic("prometheus", "s3cret"), "a") is Verdict.GRANTED

    (first,), (second,) = (passwords._right.values() for passwords in made)
    assert first != second
    assert b"s3cret" not in first + second
    assert len(first) == 64


def test_a_password_longer_than_bcrypt_looks_at() -> None:
    """72 bytes count, as in Go; the package would refuse a longer one."""
    check = bcrypt_check("web.yml")
    long = "x" * 72
    passwords = Passwords({"prometheus": bcrypt.hashpw(long.encode(), bcrypt.gensalt(4))}, check)

    assert passwords.verdict(basic("prometheus", long + "more"), "a") is Verdict.GRANTED
    assert passwords.verdict(basic("prometheus", long[1:]), "a") is Verdict.WRONG


class Crowd:
    """Clients whose passwords wait, each in a thread of its own."""

    def __init__(self, passwords: Passwords) -> None:
        self.passwords = passwords
        self.verdicts: dict[str, list[Verdict]] = {}
        self.threads: list[threading.Thread] = []

    def waiting(self) -> int:
        """Passwords that wait, the one that is compared included."""
        return self.passwords._waiting.total()

    def joins(self, peer: str, authorization: str) -> None:
        """Have one ask, and wait until it waits for its turn."""
        before = self.waiting()

        def run() -> None:
            verdict = self.passwords.verdict(authorization, peer)
            self.verdicts.setdefault(peer, []).append(verdict)

        thread = threading.Thread(target=run)
        thread.start()
        self.threads.append(thread)
        while self.waiting() == before:
            pass

    def leaves(self) -> None:
        """Wait for all of them."""
        for thread in self.threads:
            thread.join(30)
        assert self.waiting() == 0


def test_one_password_is_compared_at_a_time() -> None:
    """However many wait: wrong ones take one core at most. Each of them is compared in the end."""
    check = Slow()
    passwords = Passwords({"prometheus": HASH}, check)
    check.go.clear()
    crowd = Crowd(passwords)
    for host in range(40):
        crowd.joins(f"10.0.0.{host}", basic("prometheus", f"wrong {host}"))
    crowd.joins("scraper", basic("prometheus", "s3cret"))
    assert len(check.checked) == 1
    check.go.set()
    crowd.leaves()

    assert crowd.verdicts.pop("scraper") == [Verdict.GRANTED]
    assert list(crowd.verdicts.values()) == [[Verdict.WRONG]] * 40
    assert len(check.checked) == 41


def test_of_the_same_right_password_one_is_compared() -> None:
    """A crowd of browsers that show it for the first time pays for bcrypt once."""
    check = Slow()
    passwords = Passwords({"prometheus": HASH}, check)
    check.go.clear()
    crowd = Crowd(passwords)
    for host in range(8):
        crowd.joins(f"10.0.0.{host}", basic("prometheus", "s3cret"))
    check.go.set()
    crowd.leaves()

    assert list(crowd.verdicts.values()) == [[Verdict.GRANTED]] * 8
    assert len(check.checked) == 1


def test_a_crowd_of_passwords_is_turned_away() -> None:
    """Of one address 4 wait and of all 64. Whoever has shown the right one before is let in past them."""
    check = Slow()
    passwords = Passwords({"prometheus": HASH}, check)
    wrong, right = basic("prometheus", "wrong"), basic("prometheus", "s3cret")
    assert passwords.verdict(right, "scraper") is Verdict.GRANTED
    check.go.clear()
    crowd = Crowd(passwords)
    for host in range(16):
        for number in range(MOST_WAITING_FROM_ONE):
            crowd.joins(f"10.0.0.{host}", basic("prometheus", f"wrong {number}"))
            if crowd.waiting() == MOST_WAITING - 1:
                assert passwords.verdict(wrong, "10.0.0.5") is Verdict.BUSY
    assert crowd.waiting() == MOST_WAITING == 64
    assert passwords.verdict(wrong, "new") is Verdict.BUSY
    assert passwords.verdict(right, "scraper") is Verdict.GRANTED
    check.go.set()
    crowd.leaves()

    assert {verdict for each in crowd.verdicts.values() for verdict in each} == {Verdict.WRONG}
    assert passwords.verdict(wrong, "new") is Verdict.WRONG


def test_one_network_of_ipv6_is_one_address() -> None:
    """A host has 2**64 addresses of its own: four of them wait, whichever they are."""
    check = Slow()
    passwords = Passwords({"prometheus": HASH}, check)
    check.go.clear()
    crowd = Crowd(passwords)
    for number in range(4):
        crowd.joins(f"2001:db8::{number:x}", basic("prometheus", str(number)))
    try:
        assert passwords.verdict(basic("prometheus", "x"), "2001:db8::ffff") is Verdict.BUSY
        crowd.joins("2001:db8:0:1::1", basic("prometheus", "s3cret"))
    finally:
        check.go.set()
        crowd.leaves()
    assert crowd.verdicts["2001:db8:0:1::1"] == [Verdict.GRANTED]


def test_a_password_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is not looked at in time is told to come again, and leaves nothing behind."""
    monkeypatch.setattr(passwords_module, "LONGEST_WAIT_SECONDS", 0.01)
    check = Slow()
    passwords = Passwords({"prometheus": HASH}, check)
    check.go.clear()
    crowd = Crowd(passwords)
    crowd.joins("a", basic("prometheus", "wrong"))
    assert passwords.verdict(basic("prometheus", "s3cret"), "b") is Verdict.BUSY
    assert crowd.waiting() == 1
    check.go.set()
    crowd.leaves()


def test_failed_logins_are_counted_and_logged_once_a_minute(
    guarded: Any, hand_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """With the address and the number, never with what was typed; a visit without a password is no login."""
    for _ in range(5):
        guarded.request("GET", "/metrics", Authorization=basic("prometheus", "typo"))
    guarded.request("GET", "/metrics")
    hand_clock.now += 60 * 10**9
    guarded.request("GET", "/", Authorization=basic("typo", "typo"))

    assert dict(guarded.server.refused) == {
        **dict.fromkeys(REFUSALS, 0),
        "wrong_password": 6,
        "no_password": 1,
    }
    assert [(each.message, vars(each)["address"], vars(each)["failed"]) for each in caplog.records] == [
        ("login failed", "127.0.0.1", 1),
        ("login failed", "127.0.0.1", 5),
    ]
    assert "typo" not in caplog.text


def test_a_password_is_looked_at_before_a_body_is_read(guarded: Any) -> None:
    """Whoever may not ask is told so at once, and the body that it announced is not waited for."""
    head = b"POST /-/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 8000\r\n\r\n"
    with guarded.connect() as client:
        client.sendall(head)
        assert client.recv(65536).startswith(b"HTTP/1.1 401 ")
    assert guarded.reloads == 0


def test_who_shows_a_password_may_reload_on_any_address(
    serve: Serve, web: Path, make_report: Callable[..., Any]
) -> None:
    """The flag is not needed where everybody is authenticated."""
    site = serve(make_report(), web=web, address=":0")
    right = basic("prometheus", "s3cret")

    assert site.request("POST", "/-/reload", Authorization=right)[0] == 200
    assert site.reloads == 1


def test_a_turned_away_client_is_told_to_come_again(guarded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """429, and when."""
    monkeypatch.setattr(Passwords, "verdict", lambda *_: Verdict.BUSY)
    status, headers, body = guarded.request("GET", "/metrics", Authorization=basic("prometheus", "x"))

    assert (status, headers["retry-after"], body) == (429, "1", b"too many passwords at once\n")


def test_passwords_over_tls_with_a_client_certificate(
    serve: Serve, make_report: Callable[..., Any], tmp_path: Path
) -> None:
    """Either is needed where the file asks for both."""
    authority = Authority(tmp_path)
    authority.signs("server", "127.0.0.1")
    certificate = authority.client(authority.signs("client", "prometheus"))
    web = tmp_path / "web.yml"
    web.write_text(
        "tls_server_config: {cert_file: server.pem, key_file: server.key, client_ca_file: ca.pem,"
        " client_auth_type: RequireAndVerifyClientCert}\n"
        f"basic_auth_users: {{prometheus: {hashed('s3cret')}}}\n"
    )
    port = serve(make_report(), web=web).server.port

    assert request(port, certificate)[0] == 401
    assert request(port, certificate, Authorization=basic("prometheus", "s3cret"))[0] == 200
    with pytest.raises(ssl.SSLError, match="certificate required"):
        first_bytes(port, authority.client())


def test_without_the_package_it_is_said_what_to_install(
    serve: Serve, web: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon does not start without a lock that its file asks for."""
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "bcrypt":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError) as raised:
        serve(None, web=web)
    assert str(raised.value) == (
        f"{web}: basic_auth_users: needs the package bcrypt: "
        "/opt/inference-cost-exporter/bin/pip install '.[auth]'"
    )
