"""Basic authentication: who is let in, what it costs, and what is kept in memory."""

import base64
import builtins
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bcrypt
import pytest

from exporter.config import ConfigError
from exporter.exposition.passwords import Passwords, Verdict, bcrypt_check
from tests.exposition.certificates import Authority, ask

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
        self.asked: list[tuple[bytes, bytes]] = []
        self.entered = threading.Semaphore(0)
        self.go = threading.Event()
        self.go.set()

    def __call__(self, password: bytes, hashed: bytes) -> bool:
        self.asked.append((password, hashed))
        self.entered.release()
        assert self.go.wait(30)
        return password == self.right and hashed == HASH


@pytest.mark.parametrize("user", PASSWORDS)
def test_the_right_password_is_let_in(user: str, guarded: Any) -> None:
    """By each user's own, with a colon and letters that are not ASCII."""
    status, _, body = guarded.ask("GET", "/metrics", Authorization=basic(user, PASSWORDS[user]))

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
    status, told, body = guarded.ask("GET", path, **headers)

    assert (status, body) == (401, b"a user and a password are needed\n")
    assert told["www-authenticate"] == 'Basic realm="inference-cost-exporter", charset="UTF-8"'


def test_a_reload_needs_the_password_too(guarded: Any) -> None:
    """And a browser that knows it, sent by another site, is refused all the same."""
    right = basic("prometheus", "s3cret")

    assert guarded.ask("POST", "/-/reload")[0] == 401
    assert guarded.ask("POST", "/-/reload", Authorization=right, Origin="https://evil.example")[0] == 403
    assert guarded.reloads == 0
    assert guarded.ask("POST", "/-/reload", Authorization=right)[0] == 200
    assert guarded.reloads == 1


@pytest.mark.parametrize("path", ["/-/healthy", "/-/ready"])
def test_probes_need_no_password(path: str, guarded: Any) -> None:
    """A kubelet has none, and they tell nothing of money."""
    assert guarded.ask("GET", path)[0] == 200


def test_a_right_password_is_looked_at_once() -> None:
    """Bcrypt is slow on purpose; a wrong one after it is looked at all the same."""
    check = Slow()
    passwords = Passwords({"prometheus": HASH}, check)

    verdicts = [passwords.verdict(basic("prometheus", "s3cret"), "a") for _ in range(100)]
    assert set(verdicts) == {Verdict.GRANTED}
    assert check.asked == [(b"s3cret", HASH)]
    assert passwords.verdict(basic("prometheus", "wrong"), "a") is Verdict.WRONG
    assert passwords.verdict(basic("prometheus", "wrong"), "a") is Verdict.WRONG
    assert len(check.asked) == 3
    assert passwords.verdict(basic("prometheus", "s3cret"), "a") is Verdict.GRANTED
    assert len(check.asked) == 3


def test_an_unknown_user_costs_the_same_and_is_never_let_in() -> None:
    """The hash of a user who exists is looked at in its place, and a match counts for nothing."""
    check = Slow()
    passwords = Passwords({"prometheus": HASH}, check)

    assert passwords.verdict(basic("nobody", "s3cret"), "a") is Verdict.WRONG
    assert check.asked == [(b"s3cret", HASH)]


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


def test_wrong_passwords_wait_in_a_short_line() -> None:
    """One is looked at at a time; of one address 4 wait and of all 16, the others are turned away at once.

    Whoever has shown the right one before is let in past them.
    """
    check = Slow()
    passwords = Passwords({"prometheus": HASH}, check)
    right = basic("prometheus", "s3cret")
    assert passwords.verdict(right, "scraper") is Verdict.GRANTED
    assert check.entered.acquire(timeout=10)
    check.go.clear()
    verdicts: list[Verdict] = []
    threads: list[threading.Thread] = []

    def guess(peer: str) -> None:
        verdicts.append(passwords.verdict(basic("prometheus", "wrong"), peer))

    def waiting() -> int:
        return sum(passwords._waiting.values())

    for peer in [f"10.0.0.{host}" for host in range(4) for _ in range(4)]:
        before = waiting()
        thread = threading.Thread(target=guess, args=(peer,))
        thread.start()
        threads.append(thread)
        while waiting() == before:
            pass
    try:
        assert passwords.verdict(basic("prometheus", "wrong"), "10.0.0.0") is Verdict.BUSY
        assert passwords.verdict(basic("prometheus", "wrong"), "10.9.9.9") is Verdict.BUSY
        assert len(check.asked) == 2
        assert passwords.verdict(right, "scraper") is Verdict.GRANTED
    finally:
        check.go.set()
        for thread in threads:
            thread.join(30)
    assert verdicts == [Verdict.WRONG] * 16
    assert len(check.asked) == 17
    assert passwords._waiting == {}


def test_one_address_cannot_fill_the_line() -> None:
    """Four of one wait, its fifth is turned away, and another address still gets its turn."""
    check = Slow()
    passwords = Passwords({"prometheus": HASH}, check)
    check.go.clear()
    threads = [
        threading.Thread(target=passwords.verdict, args=(basic("prometheus", str(number)), "flood"))
        for number in range(4)
    ]
    for thread in threads:
        thread.start()
    while passwords._waiting["flood"] < 4:
        pass
    try:
        assert passwords.verdict(basic("prometheus", "wrong"), "flood") is Verdict.BUSY
        scraper: list[Verdict] = []
        other = threading.Thread(
            target=lambda: scraper.append(passwords.verdict(basic("prometheus", "s3cret"), "scraper"))
        )
        other.start()
        threads.append(other)
    finally:
        check.go.set()
        for thread in threads:
            thread.join(30)
    assert scraper == [Verdict.GRANTED]


def test_a_turned_away_client_is_told_to_come_again(guarded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """429, and when."""
    monkeypatch.setattr(Passwords, "verdict", lambda *_: Verdict.BUSY)
    status, headers, body = guarded.ask("GET", "/metrics", Authorization=basic("prometheus", "x"))

    assert (status, headers["retry-after"], body) == (429, "1", b"too many passwords at once\n")


def test_passwords_over_tls_with_a_client_certificate(
    serve: Serve, make_report: Callable[..., Any], tmp_path: Path
) -> None:
    """Either is needed where the file asks for both."""
    authority = Authority(tmp_path)
    authority.signs("server", "127.0.0.1")
    known = authority.client(authority.signs("client", "prometheus"))
    web = tmp_path / "web.yml"
    web.write_text(
        "tls_server_config: {cert_file: server.pem, key_file: server.key, client_ca_file: ca.pem,"
        " client_auth_type: RequireAndVerifyClientCert}\n"
        f"basic_auth_users: {{prometheus: {hashed('s3cret')}}}\n"
    )
    port = serve(make_report(), web=web).server.port

    assert ask(port, known)[0] == 401
    assert ask(port, known, Authorization=basic("prometheus", "s3cret"))[0] == 200
    with pytest.raises(OSError, match=r"(?i)certificate|reset|EOF"):
        ask(port, authority.client(), Authorization=basic("prometheus", "s3cret"))


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
