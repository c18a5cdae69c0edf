"""A daemon with a web configuration, and clients that have its certificate and password."""

import ssl
import time
from collections.abc import Mapping
from pathlib import Path

from tests.e2e.daemon import Daemon, Page
from tests.web.certificates import Authority
from tests.web.certificates import request as request_page
from tests.web.test_passwords import basic, hashed

USER, PASSWORD = "prometheus", "s3cret"


class DaemonWithAuth(Daemon):
    """Answers by https, to who has a certificate and a password."""

    def __init__(self, folder: Path, config: str, environment: Mapping[str, str], cost: int = 4) -> None:
        super().__init__(folder, config, environment)
        self.authority = Authority(folder)
        self.authority.signs("server", "localhost", "127.0.0.1")
        self.client: ssl.SSLContext = self.authority.client(self.authority.signs("prometheus", "prometheus"))
        self.web = folder / "web.yml"
        self.web.write_text(
            "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n"
            "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n"
            f"basic_auth_users:\n  {USER}: {hashed(PASSWORD, cost)}\n"
        )
        self.begin = lambda *argv: [*argv, f"--web.config.file={self.web}"]

    def request(self, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
        """One request by who may ask."""
        return request_page(
            self.port, self.client, path, method, **{"Authorization": basic(USER, PASSWORD), **headers}
        )

    def status(self, path: str) -> int | None:
        """Status of one path; `None` while nothing answers."""
        try:
            return self.request(path)[0]
        except OSError:
            return None

    def scrape(self) -> Page:
        """One scrape."""
        taken = time.time()
        status, _, body = self.request("/metrics")
        assert status == 200
        self.pages.append(Page(body, taken))
        return self.pages[-1]
