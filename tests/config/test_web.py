"""The web configuration's file: what it comes to, and the words by which it is refused."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from exporter.config import ConfigError
from exporter.config.web import HttpConfig, RateConfig, TlsConfig, WebConfig, load_web
from tests.config.test_files import expected_error
from tests.web.certificates import Authority

FILES = Path(__file__).parents[1] / "configs" / "web"
BAD = sorted(FILES.glob("bad-*.yml"))
GOOD = sorted(FILES.glob("good-*.yml"))
SECRET = "hunter2-in-plain-text"  # noqa: S105 - what some of the bad files hold by mistake
HASH = "$2y$10$mDwo.lAisC94iLAyP81MCesa29IzH37oigHC/42V2pdJlUprsJPze"
VERIFIED = "client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem"
AES_128, AES_256 = "TLS_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"


def tls(folder: Path, more: str) -> TlsConfig:
    """What TLS with some keys more comes to."""
    file = folder / "web.yml"
    file.write_text(f"tls_server_config: {{cert_file: server.pem, key_file: /etc/server.key, {more}}}\n")
    read = load_web(file).tls
    assert read is not None
    return read


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_what_is_wrong_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By line, column and key, with what to do; a secret in the wrong place is not repeated."""
    monkeypatch.chdir(FILES)
    with pytest.raises(ConfigError) as raised:
        load_web(Path(path.name))

    assert str(raised.value) == expected_error(path)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_what_is_right_is_taken(path: Path) -> None:
    """Each key of the format that the standard library can serve: what is written is there."""
    written, config = yaml.safe_load(path.read_text()), load_web(path)

    assert (config.tls is not None) == ("tls_server_config" in written)
    assert dict(config.users).keys() == written.get("basic_auth_users", {}).keys()
    assert dict(config.http.headers) == written.get("http_server_config", {}).get("headers", {})


def test_there_are_files() -> None:
    """The folder was found, and secrets stand in some of the files."""
    assert (len(BAD), len(GOOD)) == (31, 12)
    assert sum(SECRET in path.read_text() for path in BAD) == 3


def test_promtool_takes_what_is_taken(tmp_path: Path) -> None:
    """The files serve beside all other exporters; rate_limit is younger than Debian's promtool."""
    authority = Authority(tmp_path)
    authority.signs("server", "localhost")
    for path in GOOD:
        shutil.copy(path, tmp_path)
    promtool = shutil.which("promtool")
    assert promtool is not None, "promtool is not on PATH: apt-get install prometheus"
    done = subprocess.run(
        [promtool, "check", "web-config", *(path.name for path in GOOD)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )

    assert (done.returncode, done.stderr.count("SUCCESS")) == (0, len(GOOD))


def test_files_are_beside_the_file_that_names_them(tmp_path: Path) -> None:
    """As in the toolkit; one from / on stays."""
    assert tls(tmp_path, VERIFIED).files == (
        tmp_path / "server.pem",
        Path("/etc/server.key"),
        tmp_path / "ca.pem",
    )


@pytest.mark.parametrize(
    ("more", "read", "expected"),
    [
        ("", lambda read: (read.client_ca_file, read.oldest, read.max_version), (None, "TLS12", "TLS13")),
        ("", lambda read: (read.suites, read.curve_preferences, read.requires_certificates), ((), (), False)),
        ("client_auth_type: RequestClientCert", lambda read: read.requires_certificates, False),
        (
            "client_auth_type: VerifyClientCertIfGiven, client_ca_file: /ca.pem",
            lambda read: (read.client_ca_file, read.requires_certificates),
            (Path("/ca.pem"), False),
        ),
        (
            f"{VERIFIED}, client_allowed_sans: [a, b]",
            lambda read: (read.client_allowed_sans, read.requires_certificates),
            (("a", "b"), True),
        ),
        ("min_version: TLS13", lambda read: (read.oldest, read.max_version), ("TLS13", "TLS13")),
        ("max_version: TLS12", lambda read: (read.oldest, read.max_version), ("TLS12", "TLS12")),
        (
            f"cipher_suites: [{AES_256}, {AES_128}]",
            lambda read: (read.suites, read.oldest),
            (("ECDHE-RSA-AES256-GCM-SHA384",), "TLS12"),
        ),
        (f"cipher_suites: [{AES_128}]", lambda read: (read.suites, read.oldest), ((), "TLS13")),
        ("curve_preferences: [CurveP384]", lambda read: read.curve_preferences, ("CurveP384",)),
        ("prefer_server_cipher_suites: false", lambda read: read.prefer_server_cipher_suites, False),
    ],
)
def test_what_a_key_comes_to(
    more: str, read: Callable[[TlsConfig], object], expected: object, tmp_path: Path
) -> None:
    """By OpenSSL's names; suites of TLS 1.3 alone leave TLS 1.2 none."""
    assert read(tls(tmp_path, more)) == expected


def test_what_a_whole_file_comes_to(tmp_path: Path) -> None:
    """Hashes are kept out of what is printed of it."""
    file = tmp_path / "web.yml"
    file.write_text(
        f"basic_auth_users: {{alice: {HASH}}}\nrate_limit: {{interval: 500ms, burst: 20}}\n"
        "http_server_config: {http2: true, headers: {X-Frame-Options: deny, X-Content-Type-Options: ''}}\n"
    )
    read = load_web(file)

    assert read == WebConfig(
        http=HttpConfig(http2=True, headers=(("X-Frame-Options", "deny"),)),
        users=(("alice", HASH.encode()),),
        rate_limit=RateConfig(500_000_000, 20),
    )
    assert HASH not in repr(read)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """By name, as the configuration is."""
    with pytest.raises(ConfigError) as raised:
        load_web(tmp_path / "none.yml")
    assert str(raised.value) == f"{tmp_path}/none.yml: cannot be read: No such file or directory"
