"""Hooks of the site, which mkdocs.yml names: pages are written for GitHub, and the site shows the same.

A link out of docs/ leads to a copy of its file below `repository/`, so that the site has no link to elsewhere
in the repository, whose address it does not know.
"""

import posixpath
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
COPIES = "repository"
MERMAID = "assets/mermaid.min.js"

LINK = re.compile(r"(\]\(<?)(?![a-z][a-z0-9+.-]*:|#)([^)>\s#]+)")
FENCE = re.compile(r"^( *)```([^\n`]*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
COMMENT = re.compile(r"<!--.*?-->\n?", re.DOTALL)
CELL_CODE = re.compile(r"`[^`\n]*`")


def file_of(uri: str) -> Path:
    """The file of the repository that a page of the site is made of."""
    inside = uri.removeprefix(f"{COPIES}/")
    return DOCS / uri if inside == uri else ROOT / inside


def uri_of(file: Path) -> str:
    """Where the site has a file of the repository; a folder by its README, else by a list of its files."""
    if file.is_dir():
        file /= "README.md"
    return (
        file.relative_to(DOCS).as_posix()
        if file.is_relative_to(DOCS)
        else f"{COPIES}/{file.relative_to(ROOT).as_posix()}"
    )


def targets(page: Path, text: str) -> Iterator[Path]:
    """What the links of a page lead to in the repository."""
    for match in LINK.finditer(FENCE.sub("", text)):
        yield (page.parent / match[2]).resolve()


def list_of(folder: Path) -> str:
    """A page for a folder without a README."""
    files = sorted(path.name for path in folder.iterdir() if path.is_file())
    return "\n".join((f"# {folder.relative_to(ROOT)}", "", *(f"- [{name}]({name})" for name in files), ""))


def text_of(file: Path) -> str:
    """A page's Markdown."""
    return file.read_text(encoding="utf-8") if file.is_file() else list_of(file.parent)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what pages link to outside docs/, over any number of pages, and the program that draws diagrams."""
    waiting = [file_of(file.src_uri) for file in files.documentation_pages()]
    while waiting:
        page = waiting.pop()
        for target in targets(page, text_of(page)):
            uri = uri_of(target)
            if not target.exists() or target.is_relative_to(DOCS) or files.get_file_from_path(uri):
                continue
            if uri.endswith(".md"):
                files.append(File.generated(config, uri, content=text_of(file_of(uri))))
                waiting.append(file_of(uri))
            else:
                files.append(File.generated(config, uri, abs_src_path=str(target)))
    package = find_spec("artoo_mermaid")
    (folder,) = package.submodule_search_locations if package else ()
    files.append(File.generated(config, MERMAID, abs_src_path=f"{folder}/{MERMAID}"))
    config.nav = expanded(config.nav, sorted(file.src_uri for file in files.documentation_pages()))
    return files


def expanded(nav: Any, uris: list[str]) -> Any:
    """The navigation with the pages that stand for a pattern, in the order of their names."""
    if isinstance(nav, dict):
        return {title: expanded(inner, uris) for title, inner in nav.items()}
    if isinstance(nav, str):
        return [uri for uri in uris if fnmatchcase(uri, nav)] if "*" in nav else nav
    pages = []
    for entry in nav:
        inner = expanded(entry, uris)
        pages += inner if isinstance(inner, list) else [inner]
    return pages


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """The page with links into the site, and in the words that Python's Markdown takes for GitHub's."""
    source = file_of(page.file.src_uri)
    folder = posixpath.dirname(page.file.src_uri)

    def led(match: re.Match[str]) -> str:
        target = (source.parent / match[2]).resolve()
        return match[1] + (posixpath.relpath(uri_of(target), folder or ".") if target.exists() else match[2])

    def plain(prose: str) -> str:
        lines = COMMENT.sub("", LINK.sub(led, prose)).splitlines(keepends=True)
        return "".join(
            CELL_CODE.sub(lambda code: code[0].replace("\\|", "|"), line) if line.startswith("|") else line
            for line in lines
        )

    parts, position = [], 0
    for fence in FENCE.finditer(markdown):
        language = fence[2].split()[:1]
        parts += [plain(markdown[position : fence.start()])]
        parts += [f"{fence[1]}```{''.join(language)}\n{fence[3]}{fence[1]}```"]
        position = fence.end()
    return "".join((*parts, plain(markdown[position:])))


def on_post_page(output: str, page: Page, **_: Any) -> str:
    """The program that draws diagrams, on pages that have one: it is 3.4 MB."""
    if '<pre class="mermaid">' not in output:
        return output
    address = posixpath.relpath(MERMAID, posixpath.dirname(page.url) or ".")
    return output.replace("</head>", f'<script src="{address}"></script></head>', 1)
