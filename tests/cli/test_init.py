"""`init` looks, asks at most five questions, and writes a file that is valid, or nothing."""

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exporter.cli import doctor, init, main
from exporter.cli.init import InitOptions, Question, initialized
from exporter.config import Config, load
from exporter.reports.diagnosis import Diagnosis
from exporter.reports.initial_config import RENT, TEAM_NAME, InitialAnswers
from tests import tmpfs, unprivileged
from tests.cli.test_terminal import Screen
from tests.fake_nvml.conftest import fake
from tests.fake_nvml.library import FakeNvml
from tests.fake_nvml.scenario import Gpu, Scenario, h100s
from tests.reports.test_sights import CHAT
from tests.rights import MOUNTS

# The doctor is imported before `load` is replaced: it would keep the replacement for the tests of others.
__all__ = ["doctor", "fake"]

ROOT = Path(__file__).parents[2]
ALONE = Config(cloud="off", processes=False, kubernetes="off")
"""Neither the processes of this machine nor its cloud are in an answer."""

QUESTIONS = (
    "Are the GPUs rented or owned? [rented]: ",
    "Dollars per hour of one NVIDIA H100 80GB HBM3 [keep the estimate of ",
    "Budget of all hosts per month, in dollars [none]: ",
    "Team that owns the servers [none]: ",
)

Answer = Callable[..., Screen]


def files() -> list[str]:
    """The files of the working folder."""
    return sorted(path.name for path in Path.cwd().iterdir())


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("exporter.cli.init.load", lambda _path: ALONE)
    monkeypatch.setattr(init, "host_name", lambda: "gpu-7")
    monkeypatch.delenv("NVIDIA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(init, "terminal", lambda: None)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


@pytest.fixture
def eight(fake: FakeNvml) -> FakeNvml:
    """A host of 8 H100s."""
    fake.set(Scenario(h100s(8)))
    return fake


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Answer:
    """Answers the questions of a terminal, and then closes it; returns its screen."""

    def typed(*lines: str) -> Screen:
        streams = io.StringIO("".join(f"{line}\n" for line in lines)), Screen()
        monkeypatch.setenv("NO_COLOR", "1")
        monkeypatch.setattr(init, "terminal", lambda: streams)
        return streams[1]

    return typed


@pytest.mark.usefixtures("eight")
def test_without_a_terminal_nothing_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    """The prices of the catalogue stay in force; the job for Prometheus and the next steps are printed."""
    assert main(["init", "--config.file=ice.yaml"]) == 0

    config = load(Path("ice.yaml"))
    printed = capsys.readouterr()
    path = Path("ice.yaml").absolute()
    assert config.hardware == ()
    assert path.stat().st_mode & 0o777 == 0o644
    assert printed.err.startswith(
        "Host gpu-7, in no known cloud\nGPUs: 8 x NVIDIA H100 80GB HBM3\nCatalogue, not"
    )
    assert printed.out.startswith(f"ok: {path} is written\n8 x NVIDIA H100 80GB HBM3 at ")
    assert 'static_configs: [{targets: ["gpu-7:9844"]}]\n' in printed.out
    assert f" doctor --config.file={path}\n" in printed.out


@pytest.mark.usefixtures("eight")
def test_flags_are_answers(capsys: pytest.CaptureFixture[str]) -> None:
    """8 GPUs at 2.50 are 20 dollars an hour, and 730 hours of them 14,600."""
    given = ["--dollars-per-gpu-hour=2.50", "--budget-dollars-per-month=15000", "--team=search"]
    assert main(["init", "--config.file=ice.yaml", *given]) == 0

    config = load(Path("ice.yaml"))
    assert [float(budget.dollars_per_month) for budget in config.budgets] == [15000.0]
    assert [rule.team for rule in config.ownership] == ["search"]
    output = capsys.readouterr().out
    assert "8 x NVIDIA H100 80GB HBM3 at 2.500000 = 20.000000 dollars per hour\n" in output
    assert "20.000000 dollars per hour x 730 hours = 14,600.00 dollars a month\n" in output
    assert "estimate" not in output


@pytest.mark.usefixtures("eight")
def test_four_questions_of_a_rented_host(answer: Answer) -> None:
    """Bad answers get the error and the correction of the file; Enter takes the correction."""
    screen = answer("", "2,50", "$2.50", "", "27k", "", "search")
    assert main(["init", "--config.file=ice.yaml"]) == 0

    config = load(Path("ice.yaml"))
    assert (
        '  error: must be a number (dollars per hour, 0 to 10000), not "2,50"; '
        "write the digits only, with a point for decimals\n" in screen.getvalue()
    )
    assert (
        '  error: must be a number (dollars per hour, 0 to 10000), not "$2.50"; write 2.50\n'
        in screen.getvalue()
    )
    assert "Dollars per hour of one NVIDIA H100 80GB HBM3 [2.50]: " in screen.getvalue()
    assert [text for text in QUESTIONS if text in screen.getvalue()] == list(QUESTIONS)
    assert [float(budget.dollars_per_month) for budget in config.budgets] == [27000.0]
    assert "rented: {dollars_per_gpu_hour: 2.50}}\n" in Path("ice.yaml").read_text()


@pytest.mark.usefixtures("eight")
def test_five_questions_of_an_owned_host(answer: Answer) -> None:
    """280000 over four years of 8766 hours is 7.985398 an hour, of 8 GPUs."""
    screen = answer("o", "280000", "2025/3/1", "", "4", "")
    assert main(["init", "--config.file=ice.yaml"]) == 0

    text = Path("ice.yaml").read_text()
    assert "purchase_dollars_per_host: 280000\n    gpus_per_host: 8\n    in_service: 2025-03-01\n" in text
    assert screen.getvalue().count(": ") - screen.getvalue().count("error: ") == 6  # one is asked twice
    assert "Team" not in screen.getvalue()


def test_two_models_are_asked_for_and_a_third_is_estimated(fake: FakeNvml, answer: Answer) -> None:
    """Five questions are the most: the price of the rarest model stays the catalogue's."""
    models = ("NVIDIA L4", "NVIDIA L4", "NVIDIA L4", "NVIDIA A10G", "NVIDIA A10G", "Tesla T4")
    gpus = (Gpu(uuid=f"GPU-{n}", pci=f"00000000:{0x1B + n:02X}:00.0", name=m) for n, m in enumerate(models))
    fake.set(Scenario(tuple(gpus)))
    screen = answer("", "0.50", "1.10", "", "")
    assert main(["init", "--config.file=ice.yaml"]) == 0

    assert [rule.match.gpu_model for rule in load(Path("ice.yaml")).hardware] == ["NVIDIA L4", "NVIDIA A10G"]
    assert "Tesla T4" not in screen.getvalue()


@pytest.mark.parametrize("answers", [(), ("",), ("o", "280000"), ("", "2.50", "")])
@pytest.mark.usefixtures("eight")
def test_answers_that_end_write_nothing(
    answers: tuple[str, ...], answer: Answer, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where somebody presses Ctrl-D."""
    answer(*answers)
    assert main(["init", "--config.file=ice.yaml"]) == 1

    assert "the answers have ended; nothing is written\n" in capsys.readouterr().err
    assert files() == []


@pytest.mark.usefixtures("eight")
def test_ctrl_c_writes_nothing(answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    """And exits as every verb does."""
    answer()
    monkeypatch.setattr(Question, "prompt", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert main(["init", "--config.file=ice.yaml"]) == 130

    assert files() == []


@pytest.mark.usefixtures("eight")
def test_an_answer_that_is_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of another encoding."""
    answers = io.TextIOWrapper(io.BytesIO(b"\n\xff\n"), encoding="utf-8")
    monkeypatch.setattr(init, "terminal", lambda: (answers, Screen()))
    assert main(["init", "--config.file=ice.yaml"]) == 1


def test_a_long_answer_is_one_answer() -> None:
    """What is longer than a terminal's line is cut, and its rest is no answer to the next question."""
    answers = io.StringIO(f"{'x' * 10_000}\nsearch\n")
    screen = Screen()

    assert Question("Team", TEAM_NAME).prompt(answers, screen) == '"search"'
    assert screen.getvalue().count("is longer than 128 characters") == 1


def test_an_answer_that_is_needed_is_asked_for_again() -> None:
    """Enter alone is none where there is no default."""
    screen = Screen()

    assert Question("Price", RENT).prompt(io.StringIO("\n3\n"), screen) == "3"
    assert ": an answer is needed: dollars per hour, 0 to 10000\n" in screen.getvalue()


def test_a_host_without_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    """The file is valid, and the reason is printed."""
    assert main(["init", "--config.file=ice.yaml", "--dollars-per-gpu-hour=2.50"]) == 0

    (rule,) = load(Path("ice.yaml")).hardware
    printed = capsys.readouterr()
    assert rule.match.gpu_model is None
    assert "GPUs: none\nwarning: nvmlInit returned" in printed.err
    assert "  look around without a GPU:\n" in printed.out
    assert "nothing is priced\nerror: NVML cannot be read: " in printed.out


@pytest.mark.usefixtures("eight")
def test_an_existing_file_stays(answer: Answer, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is asked; --force replaces it."""
    file = Path("ice.yaml")
    file.write_text("interval: 5s\n")
    screen = answer()
    assert main(["init", "--config.file=ice.yaml"]) == 1
    assert (
        capsys.readouterr().err
        == "ice.yaml: exists; --force replaces it, and check-config --config.file=ice.yaml checks it\n"
    )
    assert (file.read_text(), screen.getvalue()) == ("interval: 5s\n", "")

    answer("", "2.50", "", "")
    assert main(["init", "--config.file=ice.yaml", "--force"]) == 0
    assert len(load(file).hardware) == 1


@pytest.mark.usefixtures("eight")
def test_a_file_that_appears_meanwhile_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the questions are answered."""
    collected = init.collect_answers

    def meanwhile(*given: Any) -> InitialAnswers:
        Path("ice.yaml").write_text("# mine\n")
        return collected(*given)

    monkeypatch.setattr(init, "collect_answers", meanwhile)
    assert main(["init", "--config.file=ice.yaml"]) == 1

    assert Path("ice.yaml").read_text() == "# mine\n"
    assert files() == ["ice.yaml"]


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("no/ice.yaml", "no/ice.yaml: there is no folder {}/no\n"),
        (".", ".: is a directory; name the file in it\n"),
    ],
)
def test_a_place_for_no_file(
    file: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Found before the host is looked at."""
    assert main(["init", f"--config.file={file}"]) == 1
    assert capsys.readouterr().err == message.format(tmp_path / "work")


@pytest.mark.usefixtures("eight")
def test_a_dry_run_prints_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    """Standard output is the file alone, and none is written."""
    assert main(["init", "--dry-run", "--dollars-per-gpu-hour=2.50"]) == 0

    Path("printed.yaml").write_text(capsys.readouterr().out)
    assert len(load(Path("printed.yaml")).hardware) == 1
    assert files() == ["printed.yaml"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--dollars-per-gpu-hour=$2.50"], 'not "$2.50"; write 2.50'),
        (["--budget-dollars-per-month=27k"], "write 27000"),
        (["--in-service=2025/3/1"], "write 2025-03-01"),
        (
            ["--purchase-dollars=1", "--life-years=4"],
            "--purchase-dollars needs --in-service and --life-years",
        ),
        (["--life-years=4"], "--in-service and --life-years go with --purchase-dollars"),
        (["--purchase-dollars=1", "--dollars-per-gpu-hour=1"], "not allowed with argument"),
    ],
)
def test_a_wrong_flag_is_an_error_of_its_own(
    flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2, and nothing is written."""
    with pytest.raises(SystemExit) as ended:
        main(["init", "--config.file=ice.yaml", *flags])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
    assert files() == []


def run(*command: str) -> tuple[int, str]:
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, check=False
    )
    return done.returncode, done.stderr.splitlines()[-1]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """With the remedy, by a user without rights."""
    shut = tmp_path / "shut"
    shut.mkdir()
    shut.chmod(0o555)
    file = shut / "ice.yaml"
    command = sys.executable, "-m", "exporter", "init", f"--config.file={file}"
    assert run(*unprivileged.command(*command)) == (
        1,
        f"{file}: {shut} cannot be written by this user; use sudo, or another --config.file",
    )


@pytest.mark.skipif(not tmpfs.mountable(), reason=MOUNTS)
def test_a_full_disk(tmp_path: Path) -> None:
    """Nothing of the file is left, nor of its beginning."""
    code = (
        "import os, sys; from pathlib import Path; from tests import tmpfs; from exporter.cli import main;"
        "folder = Path(sys.argv[1]); tmpfs.fill(folder);"
        "code = main(['init', f'--config.file={folder}/ice.yaml']);"
        "print(sorted(os.listdir(folder)), file=sys.stderr); sys.exit(code)"
    )
    status, last = run(*tmpfs.command(tmp_path, sys.executable, "-c", code, str(tmp_path)))
    assert (status, last) == (1, "['ballast']")


@pytest.mark.usefixtures("eight")
def test_the_clock_is_the_callers(capsys: pytest.CaptureFixture[str]) -> None:
    """The date of the file is of UTC."""

    class Clock(init.SystemClock):
        def wall(self) -> int:
            return 1_795_910_399 * 10**9  # 2026-11-28T23:59:59Z

    assert initialized(InitOptions(Path("x"), dry_run=True), Clock()) == 0
    assert "written by `init` on 2026-11-28.\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("installed", "called", "user", "command"),
    [
        (True, "x", 0, "inference-cost-exporter"),
        (True, "x", 1000, "sudo inference-cost-exporter"),
        (False, "/opt/ice/bin/inference-cost-exporter", 0, "/opt/ice/bin/inference-cost-exporter"),
        (False, "/src/exporter/__main__.py", 0, f"PYTHONPATH={ROOT} {sys.executable} -m exporter"),
    ],
)
def test_the_next_steps_call_the_program_as_it_was_called(
    monkeypatch: pytest.MonkeyPatch, *, installed: bool, called: str, user: int, command: str
) -> None:
    """They can be pasted; as another user than root with sudo, since processes of others are hidden."""
    monkeypatch.setattr("shutil.which", lambda name: name if installed else None)
    monkeypatch.setattr("sys.argv", [called])
    monkeypatch.setattr("os.geteuid", lambda: user)
    steps = list(init._next_steps(Path("/etc/my ice.yaml"), Diagnosis((), (), (), (), "", "gpu-7")))

    assert f"    {command} doctor --config.file='/etc/my ice.yaml'" in steps
    assert not any("--set-file" in step for step in steps)


def test_a_host_with_pods_gets_the_flag_of_the_chart() -> None:
    """The file becomes the chart's `config`."""
    diagnosis = Diagnosis((), (), (), (), "", "gpu-7", sights=(CHAT,))

    assert "  in Kubernetes, with the chart: --set-file config=/ice.yaml" in init._next_steps(
        Path("/ice.yaml"), diagnosis
    )
