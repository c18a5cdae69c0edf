"""The repository keeps its word: what its pages mention exists, and what it says of itself is true."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LARGEST_BYTES = 1024 * 1024

FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(<?([^)>\s]+)>?[^)]*\)")
HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)
CODE = re.compile(r"`([^`\n]+)`")


def tracked() -> list[Path]:
    """The files of this repository, as git tells them; all files where there is no git (an sdist)."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [path for name in listing.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def pages() -> list[Path]:
    """All Markdown pages."""
    return [path for path in tracked() if path.suffix == ".md"]


def read(name: str) -> str:
    """One file of the repository."""
    return (ROOT / name).read_text(encoding="utf-8")


def anchors(page: str) -> set[str]:
    """What a link after `#` can name, as GitHub makes it from headings."""
    headings = HEADING.findall(FENCE.sub("", page))
    plain = [re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)) for text in headings]
    return {text.strip().lower().replace(" ", "-") for text in plain}


def broken_links(page: Path, root: Path = ROOT) -> list[str]:
    """Relative links of a page that lead nowhere, in this repository."""
    broken = []
    for target in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue
        name, _, anchor = target.partition("#")
        file = page if not name else root / name[1:] if name.startswith("/") else page.parent / name
        if not file.exists() or (anchor and anchor not in anchors(file.read_text(encoding="utf-8"))):
            broken.append(target)
    return broken


def verbs(makefile: str) -> set[str]:
    """The self-documented targets of a makefile."""
    return set(re.findall(r"^([a-z0-9-]+):[^#\n]*## ", makefile, re.MULTILINE))


def unknown_words(page: str, flags: str, targets: set[str], root: Path = ROOT) -> list[str]:
    """Make targets, long flags and file paths that a page puts in code and that do not exist."""
    code = CODE.findall(FENCE.sub("", page)) + FENCE.findall(page)
    unknown = []
    for text in code:
        unknown += [
            f"make {name}" for name in re.findall(r"\bmake ([a-z][a-z0-9-]*)", text) if name not in targets
        ]
        ours = re.sub(r"\S*/bin/pip [^\n]*", "", text)  # by its path it has our name, and flags of its own
        own = re.findall(r"(?:exporter|inference-cost-exporter)\b[^\n]*|^--[^\n]*", ours)
        unknown += [
            flag for line in own for flag in re.findall(r"(?<!\S)--[a-z][a-z.-]*", line) if flag not in flags
        ]
        if re.fullmatch(r"\.?[\w-]+(/[\w.-]+)+/?", text) and not (root / text).exists():
            unknown.append(text)
    return unknown


def test_each_version_says_first_what_happened_to_metrics() -> None:
    """Whoever upgrades needs to know first which series changed."""
    entries = re.split(r"^## ", read("CHANGELOG.md"), flags=re.MULTILINE)[1:]
    assert [re.findall(r"^### (.+)$", entry, re.MULTILINE)[:1] for entry in entries] == [["Metrics"]] * len(
        entries
    )


def test_the_license_is_apache() -> None:
    """LICENSE is Apache-2.0, as pyproject.toml says."""
    assert re.match(r"\s*Apache License\s+Version 2\.0, January 2004\s", read("LICENSE"))
    assert 'license = "Apache-2.0"' in read("pyproject.toml")


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_internal_link_resolves(page: Path) -> None:
    """A link inside the repository leads to a file and a heading that exist."""
    assert broken_links(page) == []


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_pages_mention_only_what_exists(name: str) -> None:
    """Make targets, flags of the program and file names on a page are there to be used."""
    flags = "\n".join(
        path.read_text(encoding="utf-8") for path in sorted((ROOT / "exporter").rglob("cli*/*.py"))
    )
    assert unknown_words(read(name), flags, verbs(read("Makefile"))) == []


def test_every_verb_is_documented() -> None:
    """Each phony target that people may call says what it does; `make help` prints it."""
    phony = set(re.findall(r"^\.PHONY: (.+)$", read("Makefile"), re.MULTILINE))
    assert phony == verbs(read("Makefile"))


def test_no_file_is_large() -> None:
    """Nothing over 1 MiB is committed."""
    assert [path.name for path in tracked() if path.stat().st_size > LARGEST_BYTES] == []


def test_locks_pin_hashes_and_name_no_index() -> None:
    """Every pinned package carries hashes, and a lock works against any mirror."""
    locks = sorted((ROOT / "requirements").glob("*.lock"))
    sets = {
        "runtime",
        "build",
        "develop",
        "browser",
        "charts",
        "focus",
        "image",
        "llama",
        "peers",
        "release",
        "workflow",
    }
    assert {lock.stem for lock in locks} == sets
    for lock in locks:
        pins = re.split(
            r"^(?=\S)", re.sub(r"^#.*\n", "", lock.read_text(), flags=re.MULTILINE), flags=re.MULTILINE
        )[1:]
        assert all("==" in pin and "--hash=sha256:" in pin for pin in pins)
        assert "//" not in lock.read_text()


def test_the_daemons_lock_is_part_of_the_developers() -> None:
    """Tests run with the very versions that the daemon, and what builds it, are locked to."""

    def pins(name: str) -> set[str]:
        return set(re.findall(r"^[\w.-]+==\S+", read(f"requirements/{name}.lock"), re.MULTILINE))

    assert pins("runtime") | pins("build") <= pins("develop")


def test_the_checks_of_this_file_can_fail(tmp_path: Path) -> None:
    """A page with a dead link, an unknown verb, flag and file is told in full."""
    page = tmp_path / "page.md"
    page.write_text(
        "# A b\n[x](gone.md) [y](#a-b) [z](#c) `make nothing` `exporter --no.flag` `docs/no.md`\n"
    )
    assert broken_links(page) == ["gone.md", "#c"]
    assert unknown_words(page.read_text(), "--config.file", {"test"}, tmp_path) == [
        "make nothing",
        "--no.flag",
        "docs/no.md",
    ]
