"""Addresses on the pages are well formed, and `docs/links.py` says which of them lead nowhere."""

import importlib.util
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.docs.markdown import FENCE, LINK, ROOT, named, pages

LINKS = ROOT / "docs" / "links.py"
HOST = re.compile(r"([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}")


@pytest.fixture(scope="module")
def links() -> Any:
    """The script, as a module."""
    spec = importlib.util.spec_from_file_location("links_of_the_docs", LINKS)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def wrong(address: str) -> bool:
    """Whether an address is not https, not on a public host, or has what no address of a page needs."""
    parts = urlsplit(address)
    return (
        parts.scheme != "https"
        or not HOST.fullmatch(parts.netloc)
        or re.search(r"[^\x21-\x7e]", address) is not None
        or "//" in parts.path
        or not address.isprintable()
    )


@pytest.mark.parametrize("page", pages(), ids=named)
def test_addresses_are_well_formed(links: Any, page: Path) -> None:
    """Https, to a host that has a name, without a user or a port."""
    addresses = links.addresses(page.read_text(encoding="utf-8"))

    assert [address for address in addresses if wrong(address)] == []


def test_the_same_pages_are_asked(links: Any) -> None:
    """As the tests of the docs look at, and they lead somewhere."""
    assert links.pages() == pages()
    assert sum(len(links.addresses(page.read_text(encoding="utf-8"))) for page in pages()) > 20


@pytest.mark.parametrize(
    "address",
    [
        "http://prometheus.io/docs",
        "https://localhost/x",
        "https://10.0.0.1/",
        "https://user@prometheus.io/",
        "https://prometheus.io:9090/",
        "https://prometheus.io//docs",
        "ftp://prometheus.io/",
    ],
)
def test_one_that_is_not_well_formed_is_found(links: Any, address: str) -> None:
    """The check can fail, also where the address stands bare or in a reference."""
    for text in (f"[a]({address})", f"see {address}.", f"[a]: {address}", f'<a href="{address}">a</a>'):
        assert links.addresses(text) == [address]
    assert wrong(address)


def test_what_stands_in_code_is_no_link(links: Any) -> None:
    """It is typed, or an example."""
    text = "`http://127.0.0.1:9844/` and\n\n```sh\ncurl http://HOST/\n```\n<!-- http://x -->\nhttps://a.example/b,"

    assert links.addresses(text) == ["https://a.example/b"]


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


def test_each_is_asked_and_told(
    links: Any, site: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is there is not named; what moved or is guarded is a note; what is gone is wrong."""
    page = tmp_path / "page.md"
    page.write_text(
        f"[a]({site}/here#part) [b]({site}/moved) [c]({site}/guarded) [d]({site}/gone) [e](http://127.0.0.1:1/)\n"
    )
    assert links.main([str(page)]) == 1
    *lines, last = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        f"note: page.md: {site}/moved: moved for good to /here",
        f"note: page.md: {site}/guarded: HTTP status 403: look yourself",
        f"wrong: page.md: {site}/gone: HTTP status 404",
    ]
    assert lines[3].startswith("wrong: page.md: http://127.0.0.1:1/: ")
    assert last == "2 wrong"

    page.write_text(f"[a]({site}/here) [b]({site}/moved)\n")
    assert links.main([str(page)]) == 0


HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
LINKED = sorted({*pages(), *(ROOT / "tests").glob("*/README.md"), *(ROOT / "deploy").rglob("README.md")})


def anchor(heading: str) -> str:
    """The fragment of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def right_texts(page: Path, target: str) -> list[str]:
    """The heading and the title that a link opens; none within a page, and none for what is no page.

    The title of a decision is without its number.
    """
    name, _, fragment = target.partition("#")
    opened = (page.parent / name).resolve()
    if re.match(r"[a-z][a-z0-9+.-]*:", target) or opened.suffix != ".md" or not opened.is_file():
        return []
    headings = HEADING.findall(FENCE.sub("", opened.read_text(encoding="utf-8")))
    sections = [heading for heading in headings[1:] if anchor(heading) == fragment]
    return [*sections, re.sub(r"^\d+\. ", "", headings[0])]


def plain(text: str) -> str:
    """Without marks of code and emphasis, in lower case."""
    return re.sub(r"[`*]", "", text).lower()


def wrong_texts(page: Path) -> list[str]:
    """Links whose text is not what they open, with the text that is right; a longer text may contain it."""
    text = FENCE.sub(lambda fence: "\n" * fence[0].count("\n"), page.read_text(encoding="utf-8"))
    wrong = []
    for number, line in enumerate(text.splitlines(), 1):
        for match in LINK.finditer(line):
            right = [] if match[0][0] == "!" else right_texts(page, match["target"])
            if right and not any(plain(text) in plain(match["text"]) for text in right):
                wrong.append(f"{named(page)}:{number}: [{match['text']}]({match['target']}): {right[0]}")
    return wrong


@pytest.mark.parametrize("page", LINKED, ids=named)
def test_a_link_has_the_title_of_what_it_opens(page: Path) -> None:
    """A page by its title, a section by its heading or its page's title, which readers expect."""
    assert wrong_texts(page) == []


def test_a_wrong_text_is_found(tmp_path: Path) -> None:
    """The check can fail, by page and by section; images, files and other sites have no title."""
    (tmp_path / "b.md").write_text("# The title\n\n## A `section` of it\n")
    page = tmp_path / "a.md"
    page.write_text(
        "# A\n\n[The Title](b.md) [see the title here](b.md) [a section of it](b.md#a-section-of-it)\n[x](#a)"
        "![x](b.md) [x](c.py) [x](https://x.example/b.md) [x](missing.md)\n"
        "```\n[x](b.md)\n```\n[b.md](b.md) [it](b.md#a-section-of-it)\n"
    )

    assert wrong_texts(page) == [
        "a.md:8: [b.md](b.md): The title",
        "a.md:8: [it](b.md#a-section-of-it): A `section` of it",
    ]
