"""docs/operations.md, docs/kubernetes.md and SECURITY.md: their commands and promises hold."""

import re
import shlex
from pathlib import Path

import yaml

from exporter.cli.arguments import program
from exporter.config.settings import DEFAULT_LEDGER

ROOT = Path(__file__).parents[2]
PAGE = "\n".join(
    (ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("operations.md", "kubernetes.md")
)
DOCKERFILE = (ROOT / "deploy" / "docker" / "Dockerfile").read_text(encoding="utf-8")
POD = next(
    document["spec"]["template"]["spec"]
    for document in yaml.safe_load_all((ROOT / "deploy" / "kubernetes" / "daemonset.yaml").read_text())
    if document["kind"] == "DaemonSet"
)


def section(heading: str) -> str:
    """The text below a heading of the second rank."""
    return PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def commands(text: str, name: str) -> list[list[str]]:
    """The words of each command of a program, in blocks of shell."""
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL)).replace("\\\n", " ")
    return [shlex.split(line) for line in blocks.splitlines() if line.startswith(f"{name} ")]


def test_the_container_has_the_rights_of_the_pod_but_root() -> None:
    """What is pasted is no more than the DaemonSet has, and its arguments start the daemon."""
    (run,) = [words for words in commands(section("Docker image"), "docker") if words[1] == "run"]
    image = run.index(next(word for word in run if word.startswith("inference-cost-exporter:")))
    flags, arguments = " ".join(run[2:image]), run[image + 1 :]

    for right in ("--read-only", "--cap-drop all", "--security-opt no-new-privileges", "--pid host"):
        assert right in flags
    assert "--privileged" not in flags
    assert f":{DEFAULT_LEDGER.parent}" in flags
    assert program().parse_args(["serve", *arguments]).config_file == Path(
        "/etc/inference-cost-exporter.yaml"
    )


def test_every_argument_of_a_build_is_one_of_the_dockerfile() -> None:
    """A misspelled one would be ignored."""
    tool = (ROOT / "tools" / "docker-image").read_text(encoding="utf-8")
    given = re.findall(r"--build-arg \"?(\w+)", PAGE + tool)
    named = {*given, *re.findall(r"`(BASE|BUILDER|PIP_\w+)", PAGE)}

    assert named <= set(re.findall(r"^ARG (\w+)", DOCKERFILE, re.MULTILINE))
    assert {"BASE", "VERSION", "REVISION", "SOURCE_DATE_EPOCH"} <= named


def test_what_is_installed_is_removed() -> None:
    """Each file that the installation puts somewhere is named where it is taken away."""
    placed = re.findall(r"^sudo (?:cp \S+|touch) (\S+)", section("systemd unit"), re.MULTILINE)
    gone = section("Uninstall")

    assert len(placed) == 3
    for path in placed:
        full = path + "inference-cost-exporter.service" if path.endswith("/") else path
        assert full in gone
    assert "/opt/inference-cost-exporter" in gone
    assert str(DEFAULT_LEDGER.parent) in gone


def test_sizes_are_those_of_the_manifest() -> None:
    """Requests and limits stand in one place for people and in one for Kubernetes."""
    (container,) = POD["containers"]
    resources = container["resources"]
    memory = re.search(r"^\| memory \| (\d+) MiB \| (\d+) MiB \|", section("Sizing"), re.MULTILINE)
    cpu = re.search(r"^\| CPU \| (\d+) m \|", section("Sizing"), re.MULTILINE)

    assert memory is not None
    assert cpu is not None
    assert [f"{size}Mi" for size in memory.groups()] == [
        resources["requests"]["memory"],
        resources["limits"]["memory"],
    ]
    assert f"{cpu[1]}m" == resources["requests"]["cpu"]
