"""Generated files: writes those that differ, or with `--check` reports them."""

import argparse
from collections.abc import Mapping
from pathlib import Path


def flags(description: str | None) -> argparse.ArgumentParser:
    """The flags that every generator has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--check", action="store_true", help="change nothing; exit 1 when a file is out of date"
    )
    return parser


def update(wanted: Mapping[Path, str], script: Path, root: Path, *, check: bool) -> int:
    """Write the files whose text is another one; returns 0, or 1 when `check` finds such a file.

    `script` is the generator, which a report names.
    """
    stale = 0
    for file, text in wanted.items():
        name = file.relative_to(root)
        if file.is_file() and file.read_text(encoding="utf-8") == text:
            continue
        if check:
            print(f"{name} is out of date: python {script.relative_to(root)}")
            stale = 1
        else:
            file.write_text(text, encoding="utf-8")
            print(f"wrote {name}")
    return stale
