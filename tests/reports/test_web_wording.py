"""What `check-config` says of a web configuration: who may ask, and how."""

import json
from pathlib import Path

import pytest

from exporter.clock import SystemClock
from exporter.reports.check_config import check_config
from exporter.web.access import Access
from tests.web.certificates import Authority

NOW = 1_795_564_800 * 10**9
"""2026-11-25 in UTC."""

TLS = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n"
CLIENTS = "  client_ca_file: ca.pem\n  client_auth_type: "
HASH = "$2y$10$mDwo.lAisC94iLAyP81MCesa29IzH37oigHC/42V2pdJlUprsJPze"
USERS = f"basic_auth_users: {{scraper: {HASH}, admin: {HASH}}}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With an authority, and a certificate and its key."""
    made = tmp_path_factory.mktemp("web")
    Authority(made).signs("server", "localhost")
    return made


def checked(folder: Path, text: str, *, config: str = "", as_json: bool = False) -> tuple[int, str]:
    """What is said of two files, beside each other."""
    for name, content in (("ice.yaml", config), ("web.yml", text)):
        (folder / name).write_text(content)
    access = Access(folder / "web.yml", SystemClock())
    return check_config(folder / "ice.yaml", NOW, access, as_json=as_json)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (TLS, "HTTPS, no certificates of clients, no passwords"),
        (TLS + USERS, "HTTPS, no certificates of clients, passwords of admin, scraper"),
        (USERS, "plain HTTP, passwords of admin, scraper"),
        (
            f"{TLS}{CLIENTS}RequireAndVerifyClientCert\n  client_allowed_sans: [a, b]\n",
            "HTTPS, certificates of clients required for a or b, no passwords",
        ),
        (
            f"{TLS}{CLIENTS}VerifyClientCertIfGiven\n",
            "HTTPS, certificates of clients verified if given, no passwords",
        ),
        ("rate_limit: {interval: 1s, burst: 5}\n", "plain HTTP, no passwords"),
    ],
)
def test_who_may_ask_is_told_in_a_line(folder: Path, text: str, words: str) -> None:
    """Encryption, certificates, users: what a mistake would leave open is seen."""
    status, actual = checked(folder, text)

    assert (status, [line for line in actual.splitlines() if line.startswith("web")]) == (
        0,
        [f"web: {words}"],
    )


def test_programs_are_told_the_same(folder: Path) -> None:
    """No hash is among it; without a file there is nothing."""
    text = f"{TLS}{CLIENTS}RequireAndVerifyClientCert\n  client_allowed_sans: [a]\n{USERS}"
    status, actual = checked(folder, text, as_json=True)
    without = check_config(None, NOW, as_json=True)[1]

    assert (status, "$2" in actual) == (0, False)
    assert json.loads(actual)["web"] == {
        "tls": True,
        "client_certificates": "required",
        "client_allowed_sans": ["a"],
        "users": ["admin", "scraper"],
    }
    assert json.loads(without)["web"] is None
    assert "web" not in check_config(None, NOW)[1]


def test_both_files_are_checked_where_both_are_wrong(folder: Path) -> None:
    """The first problem of each, by its own file."""
    words = "intervall: 10s\n", "basic_auth_user: {}\n"
    status, actual = checked(folder, words[1], config=words[0])
    problems = json.loads(checked(folder, words[1], config=words[0], as_json=True)[1])

    first, second = actual.splitlines()
    assert status == 2
    assert first == f"{folder}/ice.yaml:1:1: intervall: unknown key; did you mean interval?"
    assert second == f"{folder}/web.yml:1:1: basic_auth_user: unknown key; did you mean basic_auth_users?"
    assert (problems["status"], problems["file"]) == (2, f"{folder}/ice.yaml")
    assert [problem["file"] for problem in problems["problems"]] == [
        f"{folder}/ice.yaml",
        f"{folder}/web.yml",
    ]


def test_the_files_that_it_names_are_read(folder: Path) -> None:
    """As at a start: a key that is missing is found before."""
    status, actual = checked(folder, TLS.replace("server.key", "nowhere.key"))

    assert (status, actual) == (2, f"{folder}/nowhere.key: cannot be read: No such file or directory\n")
