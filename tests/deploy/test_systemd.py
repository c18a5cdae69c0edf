"""The systemd unit: what it starts exists, and it has no more rights than this release uses."""

import configparser
import re
import shlex
from pathlib import Path

import pytest

from exporter.cli import status
from exporter.cli.arguments import program
from exporter.config.settings import DEFAULT_LEDGER

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def unit() -> configparser.ConfigParser:
    """The unit as systemd reads it; a key that is given twice fails."""
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",), comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string((ROOT / "deploy" / "systemd" / "inference-cost-exporter.service").read_text())
    return parser


@pytest.fixture(scope="session")
def command(unit: configparser.ConfigParser) -> list[str]:
    return shlex.split(unit["Service"]["ExecStart"].replace("\\\n", " "))


def test_it_starts_the_daemon_with_flags_that_exist(command: list[str]) -> None:
    """The command line is one that the daemon takes."""
    executable, *flags = command
    chosen = program().parse_args(["serve", *flags])

    assert executable == "/opt/inference-cost-exporter/bin/inference-cost-exporter"
    assert chosen.config_file == Path("/etc/inference-cost-exporter.yaml")
    assert chosen.ledger_path is None  # the configuration says it, to reports as well
    assert chosen.listen_address == ":9844"


def test_the_ledger_outlives_the_daemon(unit: configparser.ConfigParser) -> None:
    """The unit has systemd make the ledger's folder, which is the only place that can be written."""
    service = unit["Service"]

    assert Path("/var/lib", service["StateDirectory"]) == DEFAULT_LEDGER.parent
    assert service["ProtectSystem"] == "strict"


def test_the_readme_puts_program_and_configuration_where_the_unit_looks(command: list[str]) -> None:
    """Whoever pastes the README's commands can start the unit as it is."""
    readme = (ROOT / "README.md").read_text()
    executable, *flags = command
    config = next(word.partition("=")[2] for word in flags if word.startswith("--config.file="))

    assert f"-m venv {Path(executable).parents[1]}\n" in readme
    assert f"# {config}\n" in readme
    assert "deploy/systemd/inference-cost-exporter.service" in readme


def test_no_command_of_the_readme_needs_a_path_that_is_not_set() -> None:
    """Commands on a host name the program by its full path; nothing puts it on PATH."""
    readme = (ROOT / "README.md").read_text()
    section = readme.partition("## On a GPU host")[2].partition("\n## ")[0]

    assert re.findall(r"^inference-cost-exporter .*$", section, re.MULTILINE) == []


def test_it_is_root_without_capabilities(unit: configparser.ConfigParser) -> None:
    """Root reads the machine's identity and the device files, and can do nothing else that is root's."""
    service = unit["Service"]

    assert (service["User"], service["CapabilityBoundingSet"]) == ("root", "")
    assert service["NoNewPrivileges"] == "yes"


def test_gpus_and_the_clock_stay_visible(unit: configparser.ConfigParser) -> None:
    """Private devices would hide every GPU, and a protected clock cannot be asked whether it is right."""
    service = unit["Service"]

    assert {"PrivateDevices", "DevicePolicy", "ProtectClock", "SystemCallFilter"} & set(service) == set()


def test_it_restarts_but_for_a_wrong_configuration(unit: configparser.ConfigParser) -> None:
    """A replaced driver needs a new process, for ever if it must; a typo in a price needs a person."""
    service = unit["Service"]

    assert service["Restart"] == "on-failure"
    assert service["RestartPreventExitStatus"] == str(status.CONFIGURATION)
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
