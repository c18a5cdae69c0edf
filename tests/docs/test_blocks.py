"""What stands in blocks works: commands that are marked run, and configurations and scrape jobs load."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from exporter.config import load
from exporter.config.web import load_web
from exporter.finance.tco.scenario_files import scenario
from tests.docs.markdown import ROOT, Block, blocks, named, pages
from tests.docs.sandbox import Workplace, to_be_done

EVERY = [block for page in pages() for block in blocks(page)]
YAML = [block for block in EVERY if block.language == "yaml"]
WITH_WORK = [page for page in pages() if to_be_done(page)]


def kind(block: Block) -> str:
    """What a YAML block is, by its top keys."""
    document = yaml.safe_load(block.text)
    top = set(document) if isinstance(document, dict) else set()
    kinds = (
        ("prometheus", {"scrape_configs"}),
        ("manifest", {"egress", "resources", "apiVersion", "services"}),
        ("scenario", {"options"}),
        ("web", {"tls_server_config", "basic_auth_users"}),
    )
    return next((name for name, keys in kinds if keys & top), "configuration")


def of(name: str) -> list[Block]:
    return [block for block in YAML if kind(block) == name]


@pytest.mark.parametrize("block", of("configuration"), ids=lambda block: block.where)
def test_a_configuration_of_a_page_loads(block: Block, tmp_path: Path) -> None:
    """Each example can be pasted into a file, and is taken as it is."""
    file = tmp_path / "ice.yaml"
    file.write_text(block.text)

    load(file)


@pytest.mark.parametrize("block", of("scenario"), ids=lambda block: block.where)
def test_a_scenario_of_a_page_is_read(block: Block, tmp_path: Path) -> None:
    """As `tco` reads it."""
    file = tmp_path / "scenario.yaml"
    file.write_text(block.text)

    scenario(file)


@pytest.mark.parametrize("block", of("web"), ids=lambda block: block.where)
def test_a_web_configuration_of_a_page_is_read(block: Block, tmp_path: Path) -> None:
    """By the names of its keys and the shape of its values; its files are the operator's."""
    file = tmp_path / "web.yml"
    file.write_text(block.text)

    load_web(file)


@pytest.mark.parametrize("block", of("prometheus"), ids=lambda block: block.where)
def test_prometheus_takes_a_scrape_job_of_a_page(block: Block, tmp_path: Path) -> None:
    """And the job keeps the labels that the exporter tells."""
    file = tmp_path / "prometheus.yml"
    file.write_text(block.text)
    (job,) = yaml.safe_load(block.text)["scrape_configs"]

    assert job["honor_labels"] is True
    syntax = ["promtool", "check", "config", "--syntax-only", str(file)]  # files with keys are the operator's
    subprocess.run(syntax, check=True, capture_output=True, timeout=60)


@pytest.mark.timeout(600)  # several programs are started, one after another
@pytest.mark.parametrize("page", WITH_WORK, ids=named)
def test_a_page_can_be_done(page: Path, tmp_path: Path) -> None:
    """File by file, change by change and command by command, in a copy of the repository.

    What comes out is as the house asks for: `make lint` finds nothing in it.
    """
    place = Workplace(tmp_path)
    for block in to_be_done(page):
        place.do(block)
    place.lint(page)


def test_every_shell_block_is_shell() -> None:
    """Bash can read each, also those that only an operator's machine can run."""
    for block in EVERY:
        if block.language == "sh":
            done = subprocess.run(
                ["bash", "-n"], input=block.text, capture_output=True, text=True, check=False, timeout=60
            )
            assert (block.where, done.stderr) == (block.where, "")


def test_a_block_that_fails_is_found(tmp_path: Path) -> None:
    """The check can fail: by a command, a change that does not fit, and a file that is there."""
    place = Workplace(tmp_path)
    page = ROOT / "README.md"
    change = "--- a/Makefile\n+++ b/Makefile\n@@ -1 +1 @@\n-no such line\n+x\n"
    for block in (
        Block(page, ("sh", "run"), "false\n", 1),
        Block(page, ("diff",), change, 2),
        Block(page, ("python", "file=exporter/clock.py"), "", 3),
    ):
        with pytest.raises(AssertionError, match=rf"^README\.md:{block.line}:"):
            place.do(block)


def test_the_comments_of_commands_are_theirs() -> None:
    """No block asks to type a prompt: `$` stands in console blocks only, which show what is printed."""
    assert [b.where for b in EVERY if b.language == "sh" and re.search(r"^\$ ", b.text, re.MULTILINE)] == []
