"""The workflow of releases and the scripts of packages, past the checks that others use."""

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.e2e.daemon import ROOT

TOOLS = ROOT / ".cache" / "workflow" / "bin"
WORKFLOW = ROOT / ".github" / "workflows" / "release.yml"
SCRIPTS = sorted((ROOT / "deploy" / "release" / "scripts").iterdir())
SCHEMA = ("check-jsonschema", "--builtin-schema", "vendor.github-workflows")
TRAPS = ("zizmor", "--offline", "--no-progress")
SHELL = ("shellcheck", "--shell=bash", "-")


def findings(program: str, *words: str | Path, given: str = "") -> str:
    """What a checker says, empty where it is content."""
    path = TOOLS / program
    assert path.exists(), f"no {program}: run the end-to-end tests with `make e2e`"
    done = subprocess.run([path, *words], input=given, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr if done.returncode else ""


def steps(workflow: str) -> dict[str, str]:
    """The scripts of a workflow by the names of their steps; hosted CI ends them at the first failure."""
    jobs = yaml.safe_load(workflow)["jobs"].values()
    return {step["name"]: f"set -e\n{step['run']}" for job in jobs for step in job["steps"] if "run" in step}


def test_the_workflow_is_one() -> None:
    """By the schema of GitHub's own editor, and without the traps that zizmor knows."""
    assert findings(*SCHEMA, WORKFLOW) == ""
    assert findings(*TRAPS, WORKFLOW) == ""


def test_what_runs_as_root_elsewhere_is_clean_shell() -> None:
    """Each step of the workflow, and each script of the packages."""
    scripts = steps(WORKFLOW.read_text())
    assert len(scripts) >= 5
    assert {
        name: reported for name, text in scripts.items() if (reported := findings(*SHELL, given=text))
    } == {}
    assert len(SCRIPTS) == 4
    assert findings("shellcheck", *SCRIPTS) == ""


@pytest.mark.parametrize(
    ("check", "right", "wrong"),
    [
        (SCHEMA, "timeout-minutes: 60", "timeout-minute: 60"),
        (SCHEMA, "contents: read", "contents: reed"),
        (TRAPS, "${GITHUB_REF_NAME#v}", "${{ github.ref_name }}"),
        (TRAPS, "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1", "actions/checkout@v7"),
    ],
)
def test_a_mistake_is_found(check: tuple[str, ...], right: str, wrong: str, tmp_path: Path) -> None:
    """Each by its check."""
    file = tmp_path / ".github" / "workflows" / "release.yml"
    file.parent.mkdir(parents=True)
    file.write_text(WORKFLOW.read_text().replace(right, wrong))
    assert wrong in file.read_text()

    assert findings(*check, file) != ""


def test_a_trap_of_shell_is_found() -> None:
    """A name that is cut at its spaces."""
    assert "SC2086" in findings(*SHELL, given="rm -r $1\n")
