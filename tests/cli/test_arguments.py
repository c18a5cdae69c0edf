"""Flags and verbs."""

import json
import logging
import subprocess
import sys
from argparse import ArgumentParser, _SubParsersAction
from pathlib import Path

import pytest
from generators.cli import verbs

from exporter.cli import main
from exporter.cli.arguments import program
from exporter.cli.logs import set_up
from exporter.version import VERSION


@pytest.mark.parametrize(("name", "verb"), [pytest.param(*verb, id=verb[0]) for verb in verbs(program())])
def test_every_verb_has_help_with_examples_and_exit_codes(
    name: str, verb: ArgumentParser, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--help` exits 0, shows command lines that can be copied, and says what each exit code means."""
    with pytest.raises(SystemExit) as left:
        main([*name.split(), "--help"])

    output = capsys.readouterr().out
    assert left.value.code == 0
    examples, codes = output.split("examples:\n")[1].split("exit codes:\n")
    for tail, what in verb.get_default("verb").examples:
        assert f"  {f'inference-cost-exporter {name} {tail}'.strip()}\n      {what}\n" in examples
    assert codes.startswith("  0    ")
    assert "\n  2    " in codes


@pytest.mark.parametrize("group", ["report", "ledger"])
def test_a_word_before_verbs_has_help_with_an_example(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It says which verbs there are."""
    with pytest.raises(SystemExit) as left:
        main([group, "--help"])

    assert left.value.code == 0
    assert f"example:\n  inference-cost-exporter {group} " in capsys.readouterr().out


def test_the_first_help_tells_the_daemons_flags(capsys: pytest.CaptureFixture[str]) -> None:
    """The daemon is what runs without a verb, so its flags and an example are there."""
    with pytest.raises(SystemExit) as left:
        main(["--help"])

    output = capsys.readouterr().out
    assert left.value.code == 0
    for flag in ("--config.file FILE", "--ledger.path FILE", "--web.listen-address ADDRESS", "--log.level"):
        assert flag in output.partition("flags of the daemon, which runs without a verb:\n")[2]
    assert "\n  inference-cost-exporter --config.file=/etc/ice.yaml\n" in output


def test_the_demo_listens_on_this_machine_alone() -> None:
    """Its dollars are invented: nobody else meets them unless told; the daemon is there to be scraped."""
    chosen = {verb: program().parse_args([verb]).listen_address for verb in ("demo", "serve")}

    assert chosen == {"demo": "127.0.0.1:9844", "serve": ":9844"}


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """The version is that of the package."""
    with pytest.raises(SystemExit) as left:
        main(["--version"])

    assert left.value.code == 0
    assert capsys.readouterr().out == f"inference-cost-exporter {VERSION}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serve", "--web.listen-address", "nowhere"], "expected :9844, 127.0.0.1:9844 or [::1]:9844"),
        (["--web.listen-address=:99999"], "listen address ':99999'"),
        (["--log.level=loud"], "invalid choice: 'loud'"),
        (["serve", "--config.fil=x", "--nonsense"], "exporter serve: error: unknown here: --nonsense"),
        (["--config.flie=x"], "exporter serve: error: unknown here: --config.flie=x"),
        (["--log.level=info", "doctor"], "unknown here: doctor (put the verb before its flags)"),
        (["doctor", "--jsn"], "exporter doctor: error: unknown here: --jsn"),
        (["ledger", "adopt", "--nonsense"], "exporter ledger adopt: error: unknown here: --nonsense"),
        (["--ledger.path=ledger.db"], f"'ledger.db' is no absolute path; write {Path.cwd()}/ledger.db"),
        (["predict"], "invalid choice: 'predict'"),
        (["ledger"], "the following arguments are required: adopt"),
        (["check-config"], "the following arguments are required: --config.file"),
        (["record"], "the following arguments are required: --url, --output"),
        (
            ["report", "month", "--month=1970-12", "--close", "--output=x"],
            "argument --month: 1970-12: years are from 1971 to 9998",
        ),
        (["report", "month", "--month=0000-Q1"], "argument --month: year 0 is out of range"),
        (["report", "focus", "--month=9999-01"], "argument --month: 9999-01: years are from 1971 to 9998"),
        (["reconcile", "--invoice=x", "--month=0000-01"], "argument --month: year 0 is out of range"),
        (
            ["explain", "--why", "--month=2026-10", "--against=9999-12"],
            "argument --against: 9999-12: years are from 1971 to 9998",
        ),
        (
            ["record", "--url=http://[::1]", "--output=x", "--times=0"],
            "argument --times: '0' is no number of reads: write one from 1 to 1000",
        ),
        (
            ["record", "--url=http://[::1]", "--output=x", "--every=2h"],
            "argument --every: '2h' is no interval: write one from 1s to 1h, like 10s or 5m",
        ),
    ],
)
def test_a_wrong_flag_is_refused_with_what_is_right(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 2 and a message."""
    with pytest.raises(SystemExit) as left:
        main(arguments)

    assert left.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["serve", "doctor", "check-config", "ledger adopt", "report month"])
def test_a_wrong_configuration_ends_every_verb_with_2(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message says file, line, key and the nearest one."""
    file = tmp_path / "ice.yaml"
    file.write_text("intervall: 10s\n")

    assert main([*verb.split(), f"--config.file={file}"]) == 2
    assert capsys.readouterr().err.startswith(f"{file}:1:1: intervall: unknown key; did you mean interval?")


def test_a_right_configuration_is_said_to_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 0."""
    file = tmp_path / "ice.yaml"
    file.write_text("interval: 10s\n")

    assert main(["check-config", f"--config.file={file}"]) == 0
    assert "ok" in capsys.readouterr().out
    assert main(["check-config", f"--config.file={file}", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == 0


def test_logfmt_keeps_one_record_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Text from outside is quoted: it cannot forge a second record."""
    set_up("info", "logfmt")
    logging.getLogger("x").warning("source failed", extra={"problem": 'no\nlevel=error msg="gotcha'})

    (line,) = capsys.readouterr().err.splitlines()
    assert 'level=warning msg="source failed" problem="no\\nlevel=error msg=\\"gotcha"' in line


def test_json_logs_are_json(capsys: pytest.CaptureFixture[str]) -> None:
    """One object a line, with the fields of the call; below the level nothing is said."""
    set_up("warning", "json")
    logging.getLogger("x").info("quiet")
    logging.getLogger("x").warning("loud", extra={"gpus": 8})

    (line,) = capsys.readouterr().err.splitlines()
    document = json.loads(line)
    assert (document["level"], document["msg"], document["gpus"]) == ("warning", "loud", 8)


def test_a_group_that_lacks_its_verb_names_all_of_them() -> None:
    """Whoever types `report` alone is told which there are, whichever are added."""
    (top,) = (action for action in program()._actions if isinstance(action, _SubParsersAction))
    groups = {
        name: action
        for name, parser in top.choices.items()
        for action in parser._actions
        if isinstance(action, _SubParsersAction)
    }

    assert {name: action.metavar for name, action in groups.items()} == {
        name: "|".join(action.choices) for name, action in groups.items()
    }
    assert set(groups) == {"ledger", "prices", "report"}


def test_a_daemon_imports_the_code_of_no_other_verb() -> None:
    """With the parser of `serve`, nothing of finance, the demo or another verb is loaded."""
    code = (
        "import sys\nfrom exporter.cli.arguments import program\nprogram(['serve'])\n"
        "late = ('exporter.finance', 'exporter.demo', 'exporter.cli.report', 'exporter.cli.doctor')\n"
        "print([name for name in sys.modules if name.startswith(late)])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
