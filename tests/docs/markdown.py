"""Markdown pages of the repository, cut into what tests ask for: prose, code, blocks, links, tables."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

FENCE = re.compile(
    r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<text>.*?)^(?P=indent)```$", re.DOTALL | re.MULTILINE
)
LINK = re.compile(r"!?\[(?P<text>[^\]]*)\]\(<?(?P<target>[^)>\s]+)>?[^)]*\)")
SPAN = re.compile(r"`([^`\n]+)`")
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)


@dataclass(frozen=True)
class CodeBlock:
    """A fenced block: its page, the words after the fence, its text, and the line that it begins on."""

    page: Path
    info: tuple[str, ...]
    text: str
    line: int

    @property
    def language(self) -> str:
        """The first word after the fence, empty without one."""
        return self.info[0] if self.info else ""

    @property
    def file(self) -> str:
        """The file that the block is, named as `file=...`; empty where it is none."""
        named = [word.removeprefix("file=") for word in self.info if word.startswith("file=")]
        return named[0] if named else ""

    @property
    def where(self) -> str:
        """Page and line, for people."""
        return f"{named(self.page)}:{self.line}"


def pages() -> list[Path]:
    """The pages that a reader of the project is given: at the root and below `docs`."""
    return sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md"))


def named(page: Path) -> str:
    """A page's path from the root; of one that a test wrote, its name."""
    return page.relative_to(ROOT).as_posix() if page.is_relative_to(ROOT) else page.name


def read(page: Path) -> str:
    """The text of a page without its comments."""
    return COMMENT.sub("", page.read_text(encoding="utf-8"))


def blocks(page: Path) -> list[CodeBlock]:
    """The fenced blocks of a page, without their indentation."""
    text = page.read_text(encoding="utf-8")
    parsed = []
    for match in FENCE.finditer(text):
        inner = re.sub(rf"^{match['indent']}", "", match["text"], flags=re.MULTILINE)
        line = text.count("\n", 0, match.start()) + 1
        parsed.append(CodeBlock(page, tuple(match["info"].split()), inner, line))
    return parsed


def shell_commands(text: str) -> list[str]:
    """The commands of shell, one a line once continued lines are joined, without those that are comments."""
    lines = text.replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def sections(page: Path) -> dict[str, list[CodeBlock]]:
    """The blocks below each heading that has any, up to the next one of any rank."""
    outside = FENCE.sub(lambda fence: "\n" * fence[0].count("\n"), page.read_text(encoding="utf-8"))
    headings = [
        (number, line.lstrip("# "))
        for number, line in enumerate(outside.splitlines(), 1)
        if line.startswith("#")
    ]
    below: dict[str, list[CodeBlock]] = {}
    for code_block in blocks(page):
        below.setdefault(max(one for one in headings if one[0] < code_block.line)[1], []).append(code_block)
    return below


def prose(page: Path) -> str:
    """A page without its blocks."""
    return FENCE.sub("", read(page))


def spans(page: Path) -> list[str]:
    """What stands in code within the prose."""
    return SPAN.findall(prose(page))


def links(page: Path) -> Iterator[Path]:
    """The files of the repository that a page leads to."""
    for match in LINK.finditer(prose(page)):
        target = match["target"].partition("#")[0]
        if target and not re.match(r"[a-z][a-z0-9+.-]*:", target):
            yield (page.parent / target).resolve()


def rows(section: str) -> list[list[str]]:
    """The cells of a table's rows, the heading first; the line below the heading is left out."""
    lines = [line for line in section.splitlines() if line.startswith("|")]
    cut = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cut if not all(re.fullmatch(r":?-+:?", cell) for cell in row)]
