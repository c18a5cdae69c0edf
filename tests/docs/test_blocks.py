"""What stands in blocks works: commands that are marked run, and configurations and scrape jobs load."""

import csv
import json
import re
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

from exporter.config import load, parse
from exporter.config.web import load_web
from exporter.finance.options.scenario import scenario
from tests.docs.markdown import ROOT, CodeBlock, blocks, named, pages, sections, shell_commands
from tests.docs.sandbox import Sandbox, to_be_done

EVERY = [code_block for page in pages() for code_block in blocks(page)]
YAML = [code_block for code_block in EVERY if code_block.language == "yaml"]
WITH_WORK = [page for page in pages() if to_be_done(page)]


def kind(code_block: CodeBlock) -> str:
    """What a YAML block is, by its top keys."""
    document = yaml.safe_load(code_block.text)
    top = set(document) if isinstance(document, dict) else set()
    kinds = (
        ("prometheus", {"scrape_configs"}),
        ("manifest", {"egress", "resources", "apiVersion", "services"}),
        ("scenario", {"options"}),
        ("values", {"config"}),
        ("web", {"tls_server_config", "basic_auth_users"}),
    )
    return next((name for name, keys in kinds if keys & top), "configuration")


def of(name: str) -> list[CodeBlock]:
    return [code_block for code_block in YAML if kind(code_block) == name]


@pytest.mark.parametrize("code_block", of("configuration"), ids=lambda code_block: code_block.where)
def test_a_configuration_of_a_page_loads(code_block: CodeBlock, tmp_path: Path) -> None:
    """Each example can be pasted into a file, and is taken as it is."""
    file = tmp_path / "ice.yaml"
    file.write_text(code_block.text)

    load(file)


@pytest.mark.parametrize("code_block", of("values"), ids=lambda code_block: code_block.where)
def test_values_of_the_chart_hold_a_configuration(code_block: CodeBlock, tmp_path: Path) -> None:
    """As the chart writes it."""
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(code_block.text)["config"]))

    assert load(file).hardware


@pytest.mark.parametrize("code_block", of("scenario"), ids=lambda code_block: code_block.where)
def test_a_scenario_of_a_page_is_read(code_block: CodeBlock, tmp_path: Path) -> None:
    """As `tco` reads it."""
    file = tmp_path / "scenario.yaml"
    file.write_text(code_block.text)

    scenario(file)


@pytest.mark.parametrize("code_block", of("web"), ids=lambda code_block: code_block.where)
def test_a_web_configuration_of_a_page_is_read(code_block: CodeBlock, tmp_path: Path) -> None:
    """By the names of its keys and the shape of its values; its files are the operator's."""
    file = tmp_path / "web.yml"
    file.write_text(code_block.text)

    load_web(file)


@pytest.mark.parametrize("code_block", of("values"), ids=lambda code_block: code_block.where)
def test_the_chart_takes_values_of_a_page(code_block: CodeBlock) -> None:
    """By its schema, and what is the exporter's in them by the exporter."""
    values = yaml.safe_load(code_block.text)
    schema = ROOT / "deploy" / "helm" / "inference-cost-exporter" / "values.schema.json"
    jsonschema.validate(values, json.loads(schema.read_text()))

    parse(yaml.safe_dump(values["config"]).encode())


@pytest.mark.parametrize("code_block", of("prometheus"), ids=lambda code_block: code_block.where)
def test_prometheus_takes_a_scrape_job_of_a_page(code_block: CodeBlock, tmp_path: Path) -> None:
    """And the job keeps the labels that the exporter tells."""
    file = tmp_path / "prometheus.yml"
    file.write_text(code_block.text)
    (job,) = yaml.safe_load(code_block.text)["scrape_configs"]

    assert job["honor_labels"] is True
    syntax = ["promtool", "check", "config", "--syntax-only", str(file)]  # files with keys are the operator's
    subprocess.run(syntax, check=True, capture_output=True, timeout=60)


@pytest.mark.timeout(600)  # several programs are started, one after another
@pytest.mark.parametrize("page", WITH_WORK, ids=named)
def test_a_page_can_be_done(page: Path, tmp_path: Path) -> None:
    """File by file, change by change and command by command, in a copy of the repository.

    What comes out is as the house asks for: `tools/lint` finds nothing in it.
    """
    sandbox = Sandbox(tmp_path)
    for code_block in to_be_done(page):
        sandbox.run_block(code_block)
    sandbox.lint(page)


def test_each_platform_is_installed_by_three_commands() -> None:
    """And no section of the page has more; a command that is joined to another counts for itself."""
    texts = {
        title: "".join(code_block.text for code_block in below if code_block.language == "sh")
        for title, below in sections(ROOT / "docs" / "install.md").items()
    }
    counts = {
        title: sum(len(re.split(r"&&|;|\|", command)) for command in shell_commands(text))
        for title, text in texts.items()
    }
    with (ROOT / "docs" / "generators" / "platforms.csv").open(encoding="utf-8", newline="") as lines:
        platforms = [row["name"] for row in csv.DictReader(lines)]

    assert counts.pop("Kubernetes") == 2  # the image of all platforms, until a registry has it
    assert counts == dict.fromkeys(["Debian and Ubuntu", "RHEL, Rocky Linux and SUSE", *platforms], 3)


def test_every_shell_block_is_shell() -> None:
    """Bash can read each, also those that only an operator's machine can run."""
    for code_block in EVERY:
        if code_block.language == "sh":
            done = subprocess.run(
                ["bash", "-n"], input=code_block.text, capture_output=True, text=True, check=False, timeout=60
            )
            assert (code_block.where, done.stderr) == (code_block.where, "")


def test_a_block_that_fails_is_found(tmp_path: Path) -> None:
    """The check can fail: by a command, a change that does not fit, and a file that is there."""
    sandbox = Sandbox(tmp_path)
    page = ROOT / "README.md"
    change = "--- a/Makefile\n+++ b/Makefile\n@@ -1 +1 @@\n-no such line\n+x\n"
    for code_block in (
        CodeBlock(page, ("sh", "run"), "false\n", 1),
        CodeBlock(page, ("diff",), change, 2),
        CodeBlock(page, ("python", "file=exporter/clock.py"), "", 3),
    ):
        with pytest.raises(AssertionError, match=rf"^README\.md:{code_block.line}:"):
            sandbox.run_block(code_block)


def test_the_comments_of_commands_are_theirs() -> None:
    """No block asks to type a prompt: `$` stands in console blocks only, which show what is printed."""
    assert [b.where for b in EVERY if b.language == "sh" and re.search(r"^\$ ", b.text, re.MULTILINE)] == []
