"""Completion by real shells, of what the parsers have; and flags and verbs that are nearly right."""

import shutil
import subprocess
from pathlib import Path

import pytest

from exporter.cli import main
from exporter.cli.arguments import program
from exporter.cli.completion import script
from exporter.cli.verb import names, verbs_of

SHELLS = [shell for shell in ("bash", "zsh") if shutil.which(shell)]
CALL = """
complete_words() {{
    [ -n "$ZSH_VERSION" ] && emulate -L sh
    COMP_WORDS=({words})
    COMP_CWORD={last}
    _inference_cost_exporter
    printf '%s\\n' "${{COMPREPLY[@]}}"
}}
complete_words
"""


def completed(shell: str, *words: str, folder: Path | None = None) -> list[str]:
    """What a shell proposes for the last word; bash gets words as it splits them, at the equals sign."""
    quoted = " ".join(f"'{word}'" for word in ("inference-cost-exporter", *words))
    text = script(program(), shell) + CALL.format(words=quoted, last=len(words))
    options = ["--norc"] if shell == "bash" else ["-f"]
    answer = subprocess.run(
        [shell, *options, "-c", text], capture_output=True, text=True, check=True, timeout=30, cwd=folder
    )
    assert answer.stderr == ""
    # bash's compgen keeps the words that begin so; zsh's leaves that to the shell (zshcompwid(1), compadd).
    return [word for word in answer.stdout.split() if shell == "bash" or word.startswith(words[-1])]


def test_there_is_a_shell() -> None:
    """bash, which every Debian has: without it the tests below would pass by saying nothing."""
    assert "bash" in SHELLS


@pytest.mark.parametrize("shell", SHELLS)
def test_verbs(shell: str) -> None:
    """All verbs, those that begin so, and those of a group."""
    assert completed(shell, "") == list(verbs_of(program()))
    assert completed(shell, "sta") == ["status"]
    assert completed(shell, "report", "") == ["month", "chargeback", "focus"]
    assert completed(shell, "completion", "") == ["bash", "zsh"]


@pytest.mark.parametrize("shell", SHELLS)
def test_flags(shell: str) -> None:
    """Those of the verb, each once; without a verb, those of the daemon."""
    assert completed(shell, "check-config", "--f") == ["--fix"]
    assert completed(shell, "check-config", "--config.file", "/x", "--w") == ["--web.config.file", "--write"]
    month = verbs_of(verbs_of(program())["report"])["month"]
    assert completed(shell, "report", "month", "--") == [flag for flag in names(month) if flag[1] == "-"]
    assert completed(shell, "--web.l") == ["--web.listen-address"]


@pytest.mark.parametrize("shell", SHELLS)
def test_values(shell: str, tmp_path: Path) -> None:
    """The words that a flag takes, and files, behind a space."""
    (tmp_path / "ice.yaml").touch()
    assert completed(shell, "doctor", "--log.level", "w") == ["warning"]
    assert completed(shell, "check-config", "--config.file", "ic", folder=tmp_path) == ["ice.yaml"]
    assert completed(shell, "advise", "--window", "") == []


def test_values_behind_an_equals_sign(tmp_path: Path) -> None:
    """Bash hands the sign over as a word of its own."""
    (tmp_path / "ice.yaml").touch()
    assert completed("bash", "doctor", "--log.level", "=") == ["debug", "info", "warning", "error"]
    assert completed("bash", "doctor", "--log.level", "=", "e") == ["error"]
    assert completed("bash", "check-config", "--config.file", "=", "ic", folder=tmp_path) == ["ice.yaml"]


@pytest.mark.parametrize("shell", SHELLS)
def test_values_of_a_word_that_holds_the_sign(shell: str) -> None:
    """Zsh hands the word over whole, and takes it whole."""
    assert completed(shell, "doctor", "--log.level=e") == ["--log.level=error"]


@pytest.mark.parametrize("shell", SHELLS)
def test_the_function_is_registered(shell: str) -> None:
    """For the program's name."""
    text = f"{script(program(), shell)}complete -p inference-cost-exporter"
    if shell == "zsh":
        text = f"{script(program(), shell)}print -r -- $_comps[inference-cost-exporter]"
    answer = subprocess.run([shell, "-c", text], capture_output=True, text=True, check=True, timeout=30)

    assert "_inference_cost_exporter" in answer.stdout


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["doctor", "--confg.file=/x"], "unknown here: --confg.file=/x (did you mean --config.file?)"),
        (["--ledger.paht=/x"], "unknown here: --ledger.paht=/x (did you mean --ledger.path?)"),
        (["check-config", "--config.file=/x", "--jsn"], "unknown here: --jsn (did you mean --json?)"),
        (["doctor", "--colour"], "unknown here: --colour"),
        (["reprot", "month"], "invalid choice: 'reprot'; did you mean report?"),
        (["report", "mouth"], "invalid choice: 'mouth'; did you mean month?"),
        (["report", "zzz"], "invalid choice: 'zzz'; verbs: month, chargeback, focus"),
    ],
)
def test_a_flag_or_verb_that_is_nearly_right(
    arguments: list[str], error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The nearest one is named; where none is near, there is no guess."""
    with pytest.raises(SystemExit) as left:
        main(arguments)

    assert left.value.code == 2
    assert capsys.readouterr().err.endswith(f"error: {error}\n")
