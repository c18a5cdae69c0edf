"""A copy of the repository in which a page's blocks are done, as a reader would do them."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.docs.markdown import ROOT, CodeBlock, blocks, files

SECONDS = 240
"""For one block; the slowest takes a few of them on a machine that does nothing else."""


class Sandbox:
    """Every file of the repository below a folder, and no other; `bin` comes first on the path."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "repository"
        for name in sorted(files()):
            target = self.root / name
            if (ROOT / name).is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, target)
        bin_ = folder / "bin"
        bin_.mkdir()
        for name, call in (("python", ""), ("inference-cost-exporter", " -m exporter")):
            (bin_ / name).write_text(f'#!/bin/sh\nexec {sys.executable}{call} "$@"\n')
            (bin_ / name).chmod(0o755)
        self._environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("PYTEST", "COV_")) and name != "PYTHONDONTWRITEBYTECODE"
            },  # what one block has compiled the next need not
            "PATH": f"{bin_}:{os.environ['PATH']}",
            "PYTHONPATH": str(self.root),
            "GIT_CEILING_DIRECTORIES": str(folder),
        }

    def run_block(self, code_block: CodeBlock) -> str:
        """Write the block's file, apply it as a change, or run it; returns what it printed.

        Raises:
            AssertionError: it cannot be done; the message is what the program said.
        """
        if code_block.file:
            target = self.root / code_block.file
            assert not target.exists(), f"{code_block.where}: {code_block.file} is there already"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(code_block.text)
            return ""
        if code_block.language == "diff":
            return self._run(
                ["git", "apply", "--recount", "--unidiff-zero", "-"], code_block, code_block.text
            )
        return self._run(["bash", "-euo", "pipefail", "-c", code_block.text], code_block)

    def lint(self, page: Path) -> None:
        """Look at the Python files that a page has written or changed.

        Raises:
            AssertionError: something is not as the house asks for.
        """
        text = "".join(f"+++ b/{code_block.file}\n{code_block.text}" for code_block in to_be_done(page))
        files = sorted(set(re.findall(r"^\+\+\+ b/(\S+\.py)$", text, re.MULTILINE)))
        for check in (["check", "--no-cache"], ["format", "--check", "--no-cache"]):
            self._run(["ruff", *check, *files], CodeBlock(page, ("lint",), "", 0))

    def _run(self, command: list[str], code_block: CodeBlock, given: str = "") -> str:
        done = subprocess.run(
            command,
            cwd=self.root,
            env=self._environment,
            input=given,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{code_block.where}:\n{done.stdout}{done.stderr}"
        return done.stdout


def to_be_done(page: Path) -> list[CodeBlock]:
    """The blocks of a page that are marked: files, changes, and commands with the word `run`."""
    return [
        code_block
        for code_block in blocks(page)
        if code_block.file or code_block.language == "diff" or "run" in code_block.info[1:]
    ]
