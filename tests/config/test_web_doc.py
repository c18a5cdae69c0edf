"""The page on TLS and passwords: its files work, and it speaks of every key."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from exporter.config.schema import Key, ListOf, Table
from exporter.config.web import DEAREST, WEB, load_web
from exporter.web.limits import WebLimits
from exporter.web.passwords import MOST_WAITING, MOST_WAITING_FROM_ONE
from tests.web.certificates import Authority

PAGE = (Path(__file__).parents[2] / "docs" / "web.md").read_text(encoding="utf-8")
WEB_FILE, SCRAPE = (text.partition("```")[0] for text in PAGE.split("```yaml\n")[1:])


def names(table: Table | ListOf[object] | object) -> list[str]:
    """Every key of a schema, however deep."""
    if not isinstance(table, Table):
        return []
    return [name for key in table.keys for name in (key.name, *names(key.validator))]


@pytest.mark.parametrize("name", names(WEB))
def test_every_key_is_on_the_page(name: str) -> None:
    """By its name, as code."""
    assert isinstance(WEB.keys[0], Key)
    assert re.search(rf"`(?:\w+\.)*{re.escape(name)}`", PAGE)


def test_its_bounds_are_those_in_force() -> None:
    """Figures of the page are those of the code."""
    limits = WebLimits()
    for figure in (
        f"hashes of a cost from 4 to {DEAREST}",
        f"at most {MOST_WAITING_FROM_ONE} of one address and {MOST_WAITING} of all wait",
        f"A client has {limits.request // 10**9} seconds for its handshake",
        f"{limits.idle // 10**9} seconds between requests",
        f"{limits.head_bytes // 1024} KiB of head and {limits.body_bytes // 1024} KiB of body",
        f"{limits.connections} connections are served at a time and {limits.backlog} more wait",
    ):
        assert figure in PAGE


def test_its_files_are_taken(tmp_path: Path) -> None:
    """The web configuration by us and by promtool, the scrape configuration by promtool."""
    authority = Authority(tmp_path)
    authority.signs("server", "localhost")
    authority.signs("prometheus", "prometheus")
    (tmp_path / "password").write_text("secret")
    (tmp_path / "web.yml").write_text(WEB_FILE)
    (tmp_path / "prometheus.yml").write_text(SCRAPE)
    promtool = shutil.which("promtool")
    assert promtool is not None, "promtool is not on PATH: apt-get install promtool"

    assert load_web(tmp_path / "web.yml").names == ["prometheus"]
    for checked in (["web-config", "web.yml"], ["config", "prometheus.yml"]):
        done = subprocess.run([promtool, "check", *checked], cwd=tmp_path, capture_output=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
