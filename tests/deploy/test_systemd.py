"""The systemd unit: what it starts exists, and it has no more rights than this release uses."""

import configparser
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from exporter.cli import status
from exporter.cli.arguments import program
from exporter.config.settings import DEFAULT_LEDGER
from exporter.ledger.files import FILE_MODE, FOLDER_MODE

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "deploy" / "systemd" / "inference-cost-exporter.service"


@pytest.fixture(scope="session")
def unit() -> configparser.ConfigParser:
    """The unit as systemd reads it; a key that is given twice fails."""
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",), comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(UNIT.read_text())
    return parser


@pytest.fixture(scope="session")
def command(unit: configparser.ConfigParser) -> list[str]:
    return shlex.split(unit["Service"]["ExecStart"].replace("\\\n", " "))


def test_it_starts_the_daemon_with_flags_that_exist(command: list[str]) -> None:
    """The command line is one that the daemon takes."""
    executable, *flags = command
    assert flags.pop() == "$ARGS"  # of the environment file
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


def test_the_books_are_the_groups_to_read(unit: configparser.ConfigParser) -> None:
    """Nobody but owner and group enters the folder, and what is made in it is nobody else's."""
    service = unit["Service"]

    assert int(service["StateDirectoryMode"], 8) == FOLDER_MODE
    assert FILE_MODE & ~int(service["UMask"], 8) == FILE_MODE
    assert 0o666 & ~int(service["UMask"], 8) == FILE_MODE


def test_the_readme_puts_program_and_configuration_where_the_unit_looks(command: list[str]) -> None:
    """Whoever pastes the README's commands can start the unit as it is."""
    readme = (ROOT / "README.md").read_text()
    executable, *flags = command
    config = next(word.partition("=")[2] for word in flags if word.startswith("--config.file="))

    assert f"-m venv {Path(executable).parents[1]}\n" in readme
    assert f"# {config}\n" in readme
    assert "deploy/systemd/inference-cost-exporter.service" in readme


def test_it_is_root_without_capabilities(unit: configparser.ConfigParser) -> None:
    """Root reads the machine's identity and the device files, and can do nothing else that is root's."""
    service = unit["Service"]

    assert (service["User"], service["CapabilityBoundingSet"]) == ("root", "")
    assert service["NoNewPrivileges"] == "yes"


def test_it_has_no_right_that_it_does_not_use(unit: configparser.ConfigParser) -> None:
    """Each directive that takes something away is there, and says yes."""
    service = unit["Service"]
    protected = ("KernelTunables", "KernelModules", "KernelLogs", "ControlGroups", "Hostname", "Home")
    restricted = ("RestrictNamespaces", "RestrictRealtime", "RestrictSUIDSGID", "LockPersonality")
    settings = [*(f"Protect{what}" for what in protected), *restricted, "PrivateTmp", "NoNewPrivileges"]

    assert {name: service.get(name) for name in settings} == dict.fromkeys(settings, "yes")
    assert service["RestrictAddressFamilies"].split() == ["AF_INET", "AF_INET6", "AF_NETLINK", "AF_UNIX"]
    assert service["SystemCallArchitectures"] == "native"
    assert service["AmbientCapabilities"] == ""
    assert service["MemoryMax"] == "256M"


def analyzed(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What systemd's own check says of the unit, installed in a root of its own."""
    analyze = shutil.which("systemd-analyze")
    assert analyze is not None, "systemd-analyze is not on PATH: apt-get install systemd"
    text = UNIT.read_text()
    executable = folder / "inference-cost-exporter"
    executable.write_text("#!/bin/sh\n")
    executable.chmod(0o755)
    installed = folder / UNIT.name
    installed.write_text(
        text.replace("/opt/inference-cost-exporter/bin/inference-cost-exporter", str(executable))
    )
    return subprocess.run(
        [analyze, *arguments, str(installed)], capture_output=True, text=True, check=False, cwd=folder
    )


def test_systemd_understands_every_line(tmp_path: Path) -> None:
    """No directive is unknown or without effect."""
    checked = analyzed(tmp_path, "verify", "--man=no")

    assert [line for line in checked.stderr.splitlines() if UNIT.name in line] == []


def test_systemd_finds_little_exposed(tmp_path: Path) -> None:
    """Of ten points of exposure fewer than three and a half: network, devices and processes are its work."""
    checked = analyzed(tmp_path, "security", "--offline=true", "--no-pager", "--threshold=34")

    assert checked.returncode == 0, checked.stdout


def test_the_environment_file_names_flags_and_variables_that_exist(unit: configparser.ConfigParser) -> None:
    """Whoever takes the # from a line has a daemon that starts."""
    text = (UNIT.parent / "inference-cost-exporter.env").read_text()
    (path,) = re.findall(r"copy this to (\S+)\.$", text, re.MULTILINE)
    offered = re.findall(r"^#?([A-Z_]+)=(.*)$", text, re.MULTILINE)
    lines = [value.strip('"') for name, value in offered if name == "ARGS"]

    assert unit["Service"]["EnvironmentFile"] == f"-{path}"
    assert [program().parse_args(["serve", *shlex.split(line)]).ledger_path for line in lines] == [
        None,
        None,
        Path("/srv/inference-cost-exporter/ledger.db"),
    ]
    assert {name for name, _ in offered} == {"ARGS", "NODE_NAME"}
    assert unit["Service"]["Environment"] == "ARGS="  # without the file no variable is missing
    assert set(re.findall(r"^(\w+)=", text, re.MULTILINE)) == set()  # a copy changes nothing


def test_gpus_and_the_clock_stay_visible(unit: configparser.ConfigParser) -> None:
    """Private devices would hide every GPU, and a protected clock cannot be asked whether it is right."""
    service = unit["Service"]

    assert {"PrivateDevices", "DevicePolicy", "ProtectClock", "ProtectProc", "PrivateUsers"} & set(
        service
    ) == set()
    assert service["SystemCallFilter"].startswith("~")
    assert "@clock" not in service["SystemCallFilter"]


def test_it_restarts_but_for_a_wrong_configuration(unit: configparser.ConfigParser) -> None:
    """A replaced driver needs a new process, for ever if it must; a typo in a price needs a person."""
    service = unit["Service"]

    assert service["Restart"] == "on-failure"
    assert service["RestartPreventExitStatus"] == str(status.CONFIGURATION)
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"
    assert service["ExecReload"] == '/bin/sh -c "kill -HUP $$MAINPID"'
