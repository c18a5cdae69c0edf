"""`check-config --fix`: the diff that it shows, and the file that it writes."""

import os
import stat
from pathlib import Path

import pytest

from exporter.cli import check_config, main

WRONG = """# Our budget.
budgets:
  - {name: a, dollars_per_month: "27k"}  # agreed in May
"""
RIGHT = """# Our budget.
budgets:
  - {name: a, dollars_per_month: 27000}  # agreed in May
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration with one mistake."""
    path = tmp_path / "ice.yaml"
    path.write_text(WRONG)
    return path


def test_the_diff_is_shown_and_nothing_is_written(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only the changed line is repeated; the status is that of the file as it is."""
    assert main(["check-config", f"--config.file={file}", "--fix"]) == 2

    printed = capsys.readouterr()
    assert printed.out == (
        f"--- {file}\n+++ {file} (corrected)\n@@ -3 +3 @@\n"
        '-  - {name: a, dollars_per_month: "27k"}  # agreed in May\n'
        "+  - {name: a, dollars_per_month: 27000}  # agreed in May\n"
    )
    assert printed.err == "note: nothing is written; add --write to correct the file\n"
    assert file.read_text() == WRONG


def test_the_file_is_written_with_its_mode(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The mode stays, and no temporary file; the file passes then."""
    file.chmod(0o640)
    assert main(["check-config", f"--config.file={file}", "--fix", "--write"]) == 0
    assert capsys.readouterr().err == f"ok: {file} is written\n"

    assert file.read_text() == RIGHT
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert list(file.parent.iterdir()) == [file]
    assert main(["check-config", f"--config.file={file}"]) == 0


def test_the_owner_stays(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a file of another user the new one is given to that user, before it takes the name."""
    given: list[tuple[int, int]] = []
    real = os.fstat

    def of_another(descriptor: int) -> os.stat_result:
        before = list(real(descriptor))
        before[4], before[5] = 4711, 4712
        return os.stat_result(before)

    monkeypatch.setattr("exporter.cli.replacement.os.fstat", of_another)
    monkeypatch.setattr(
        "exporter.cli.replacement.os.fchown", lambda _, user, group: given.append((user, group))
    )
    assert main(["check-config", f"--config.file={file}", "--fix", "--write"]) == 0

    assert given == [(file.stat().st_uid, file.stat().st_gid)]


def test_a_file_that_cannot_keep_its_owner_stays(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file is as it was, and no temporary file is left."""

    def refused(_descriptor: int, _mode: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("exporter.cli.replacement.os.fchmod", refused)
    assert main(["check-config", f"--config.file={file}", "--fix", "--write"]) == 1

    assert capsys.readouterr().err == f"{file}: cannot be written: Operation not permitted\n"
    assert file.read_text() == WRONG
    assert list(file.parent.iterdir()) == [file]


def test_a_link_stays_a_link(file: Path, tmp_path: Path) -> None:
    """The file that it names is replaced."""
    link = tmp_path / "link.yaml"
    link.symlink_to(file)
    assert main(["check-config", f"--config.file={link}", "--fix", "--write"]) == 0

    assert link.is_symlink()
    assert file.read_text() == RIGHT


def test_a_file_that_changes_meanwhile_is_not_overwritten(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An editor that saves between the reading and the writing keeps what it saved."""
    reads = iter((WRONG.encode(), b"saved: by another\n"))
    monkeypatch.setattr(check_config, "contents", lambda _: next(reads))
    assert main(["check-config", f"--config.file={file}", "--fix", "--write"]) == 1

    assert capsys.readouterr().err == f"{file}: has changed meanwhile; run the verb again\n"
    assert file.read_text() == WRONG


def test_a_wrong_price_file_is_an_error(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its problems hide those of the configuration, which is neither right nor corrected till it is read."""
    prices = file.with_name("prices.json")
    before = f"prices: {{path: {prices}}}\ninterval:10s\n"
    file.write_text(before)
    assert main(["check-config", f"--config.file={file}", "--fix", "--write"]) == 2

    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == (
        f"{prices}: cannot be read: No such file or directory; "
        "write it with `prices update`, or remove prices.path\n"
    )
    assert file.read_text() == before


def test_what_remains_is_listed(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What can be corrected is written; the rest is an error, by its line in the corrected file."""
    file.write_text(f"{WRONG}interval: soon\n")
    assert main(["check-config", f"--config.file={file}", "--fix", "--write"]) == 2

    assert capsys.readouterr().err == (
        "not corrected, by the lines of the corrected file:\n"
        f'{file}:4:11: interval: "soon" is no duration; write a whole number and ms, s or m, like 10s\n'
        f"note: {file} is written\n"
    )
    assert file.read_text() == f"{RIGHT}interval: soon\n"


def test_a_right_file_is_checked_as_without_the_flag(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """There is nothing to correct, so the prices are printed."""
    file.write_text(RIGHT)
    assert main(["check-config", f"--config.file={file}", "--fix"]) == 0

    assert capsys.readouterr().out.startswith(f"ok: {file}\n")


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        (["--write"], "--write goes with --fix"),
        (["--fix", "--json"], "--fix corrects --config.file alone, without --json and --page"),
        (["--fix", "--page=/p"], "--fix corrects --config.file alone, without --json and --page"),
        (["--fix", "--web.config.file=/w"], "--fix corrects --config.file alone, without --json and --page"),
    ],
)
def test_flags_that_clash(
    flags: list[str], error: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each is refused with the reason."""
    with pytest.raises(SystemExit):
        main(["check-config", f"--config.file={file}", *flags])

    assert capsys.readouterr().err.endswith(f"error: {error}\n")


def test_an_error_that_can_be_corrected_names_the_flag(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not one whose value only its author knows, nor a file that cannot be read."""
    assert main(["check-config", f"--config.file={file}"]) == 2
    assert capsys.readouterr().err.endswith(
        "; write 27000\nnote: add --fix to see the corrections, and --write to make them\n"
    )
    file.write_text("budgets: [{name: a, dollars_per_month: much}]\n")
    assert main(["check-config", f"--config.file={file}"]) == 2
    assert "--fix" not in capsys.readouterr().err
    assert main(["check-config", f"--config.file={file}.old"]) == 2
    assert "--fix" not in capsys.readouterr().err
