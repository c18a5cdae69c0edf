"""Links within the repository lead somewhere, and `docs/links.py` requests the addresses elsewhere.

`tools/site` refuses dead links of its pages, and pages that are in no menu.
"""

import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import links
import pytest

from tests.docs.markdown import FENCE, LINK, ROOT, files

HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)


def broken(page: Path) -> Iterator[str]:
    """Relative links of a page to no file, or to no heading of it as GitHub names them."""
    for match in LINK.finditer(FENCE.sub("", page.read_text(encoding="utf-8"))):
        name, _, fragment = match["target"].partition("#")
        if re.match(r"[a-z][a-z0-9+.-]*:", name):
            continue
        file = page.parent / name if name else page
        text = FENCE.sub("", file.read_text(encoding="utf-8")) if fragment and file.is_file() else ""
        headings = {
            re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in HEADING.findall(text)
        }
        if not file.exists() or (fragment and fragment not in headings):
            yield match["target"]


def test_every_link_within_the_repository_leads_somewhere(tmp_path: Path) -> None:
    """On all pages, also those of tests and deploy, which are not on the site."""
    (page := tmp_path / "page.md").write_text("# A b\n[x](gone.md) [y](#a-b) [z](#c)\n")

    assert list(broken(page)) == ["gone.md", "#c"]
    assert {
        name: wrong for name in files() if name.endswith(".md") and (wrong := list(broken(ROOT / name)))
    } == {}


@pytest.fixture
def site() -> Iterator[str]:
    """A site with one page, one that moved, one that is guarded, and none else."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status = {"/here": 200, "/moved": 301, "/guarded": 403}.get(self.path, 404)
            self.send_response(status)
            if status == 301:
                self.send_header("Location", "/here")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_addresses_elsewhere_are_requested(
    site: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What moved or is guarded is a note; what is gone is wrong; what stands in code is no link."""
    page = tmp_path / "page.md"
    page.write_text(
        f"{site}/here#part [b]({site}/moved) [c]({site}/guarded) [d]: {site}/gone\n`{site}/code`\n"
    )

    assert links.main([str(page)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"note: page.md: {site}/moved: moved for good to /here",
        f"note: page.md: {site}/guarded: HTTP status 403: look yourself",
        f"wrong: page.md: {site}/gone: HTTP status 404",
        "1 wrong",
    ]
