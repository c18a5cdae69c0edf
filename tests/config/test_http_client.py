"""Settings of the HTTP client: what each key comes to, and the words by which a file is refused."""

from pathlib import Path

import pytest

from exporter.config import ConfigError
from exporter.config.http_client import (
    Authorization,
    BasicAuth,
    ClientTls,
    Header,
    HttpClientConfig,
    load_http_client,
)


def written(folder: Path, text: str) -> Path:
    """The file with this text."""
    file = folder / "http.yml"
    file.write_text(text)
    return file


def test_every_key_is_taken(tmp_path: Path) -> None:
    """Files are looked for from the folder of the file on."""
    text = """\
basic_auth: {username: alice, password_file: password}
tls_config: {ca_file: ca.pem, cert_file: /etc/client.pem, key_file: client.key, server_name: metrics.example}
http_headers:
  X-Scope-OrgID: {values: [team-a, team-b]}
  X-Token: {files: [token]}
"""

    assert load_http_client(written(tmp_path, text)) == HttpClientConfig(
        basic_auth=BasicAuth("alice", tmp_path / "password"),
        tls=ClientTls(
            tmp_path / "ca.pem", Path("/etc/client.pem"), tmp_path / "client.key", "metrics.example"
        ),
        headers=(
            ("X-Scope-OrgID", Header(("team-a", "team-b"))),
            ("X-Token", Header(files=(tmp_path / "token",))),
        ),
    )


def test_a_token_is_a_bearer_by_default(tmp_path: Path) -> None:
    """As in Prometheus."""
    config = load_http_client(written(tmp_path, "authorization: {credentials_file: token}"))

    assert config == HttpClientConfig(authorization=Authorization(tmp_path / "token"))


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("", [": is empty"]),
        (
            "basic_auth: {username: a, password: hunter2}",
            [":1:27: basic_auth.password: unknown key; did you mean password_file?"],
        ),
        (
            "authorization: {credentials: hunter2}",
            [":1:17: authorization.credentials: unknown key; did you mean credentials_file?"],
        ),
        (
            "authorization: {}",
            [":1:16: authorization: credentials_file is missing: the file that holds the credentials"],
        ),
        (
            "tls_config: {insecure_skip_verify: true}",
            [
                (
                    ":1:14: tls_config.insecure_skip_verify: unknown key; known here: ca_file, cert_file, "
                    "key_file, server_name"
                )
            ],
        ),
        ("tls_config: {cert_file: a}", [":1:25: tls_config.cert_file: needs key_file"]),
        (
            "basic_auth: {username: a, password_file: b}\nauthorization: {credentials_file: c}",
            [":2:16: authorization: excludes basic_auth; remove one of them"],
        ),
        (
            "http_headers: {Host: {values: [a]}}",
            [":1:16: http_headers.Host: is set by the client; see basic_auth and authorization"],
        ),
        (
            "http_headers: {X: {secrets: [hunter2]}}",
            [":1:20: http_headers.X.secrets: unknown key; known here: values, files"],
        ),
        ('http_headers: {"a b": {values: [c]}}', [":1:16: http_headers.a b: is no name of a header"]),
        ("http_headers: {Y: {}}", [":1:19: http_headers.Y: needs values or files"]),
        (
            "http_headers: [a]",
            [":1:15: http_headers: must be a mapping of headers to their values, not a list"],
        ),
        (
            "basic_auht: {username: a, password_file: b}",
            [":1:1: basic_auht: unknown key; did you mean basic_auth?"],
        ),
    ],
)
def test_what_is_wrong_names_place_and_remedy(tmp_path: Path, text: str, problems: list[str]) -> None:
    """By line, column and key; a secret is not repeated."""
    file = written(tmp_path, text)
    with pytest.raises(ConfigError) as raised:
        load_http_client(file)

    assert str(raised.value).splitlines() == [f"{file}{problem}" for problem in problems]
    assert "hunter2" not in str(raised.value)
