"""Which new ledgers are known to be the first of a boot, and what each of the others lacks."""

import logging
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.cost.state import GpuState, State
from exporter.ledger.boot import MARK_NAME, NO_BOOT, BootClaim, ends_with_pod, fleeting
from exporter.ledger.ledger import Ledger
from tests.kit.clock import ManualClock
from tests.kit.units import HOUR, MINUTE, NOVEMBER
from tests.ledger.ticks import GPU_0, accrued, money, tick

BOOT = BootClaim("b00t-1", 20 * MINUTE, fleeting=lambda _folder: "")
NEXT = replace(BOOT, id="b00t-2")
FROM_NOW = ("ledger created", "now")
FROM_BOOT = ("ledger created", "boot")


def opened(path: Path, clock: ManualClock, boot: BootClaim = BOOT) -> str:
    """Open and close a ledger; the boot that it is the first of."""
    ledger = Ledger.open(path, clock, boot=boot)
    assert ledger.persistent
    ledger.close()
    return ledger.state().fresh_in


def creations(caplog: pytest.LogCaptureFixture) -> list[tuple[str, object, object]]:
    """Log records of new ledgers: the event, since when rent is charged, and why."""
    records = [record for record in caplog.records if record.name == "exporter.ledger.boot"]
    return [
        (record.getMessage(), vars(record)["rent_since"], vars(record).get("because")) for record in records
    ]


@pytest.fixture(autouse=True)
def everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def test_the_first_ledger_of_a_boot(path: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture) -> None:
    """It says so, and leaves a mark beside it."""
    assert opened(path, clock) == "b00t-1"
    assert creations(caplog) == [(*FROM_BOOT, None)]
    assert vars(caplog.records[0])["booted_seconds_ago"] == "1200"
    assert (path.parent / MARK_NAME).read_text() == "b00t-1\n"


def test_a_new_ledger_begins_now_unless_a_boot_is_given(
    path: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the kernel names no boot nothing is concluded, and no mark is left."""
    assert opened(path, clock, NO_BOOT) == ""
    assert (creations(caplog), {file.name for file in path.parent.iterdir()}) == (
        [],
        {"ledger.db", "ledger.db.lock"},
    )


def test_a_killed_start_charges_after_all(path: Path, clock: ManualClock) -> None:
    """Killed before its first commit: the file still knows that nothing was charged since this boot."""
    assert opened(path, clock) == "b00t-1"
    assert opened(path, clock) == "b00t-1"


def test_after_the_first_tick_with_a_gpu_it_is_over(path: Path, clock: ManualClock) -> None:
    """In the same commit: whenever the daemon is killed, the time is charged or not, never twice."""
    begun = State(elapsed=1, boot="b00t-1", gpus={"GPU-0": GpuState(GPU_0, 0)})
    ledger = Ledger.open(path, clock, boot=BOOT)
    ledger.post(tick(NOVEMBER + HOUR), replace(begun, gpus={}, fresh_in="b00t-1"))
    assert ledger.state().fresh_in == "b00t-1"
    ledger.close()
    assert opened(path, clock) == "b00t-1"
    ledger = Ledger.open(path, clock, boot=BOOT)
    ledger.post(tick(NOVEMBER + HOUR), begun)
    ledger.close()

    assert ledger.state().fresh_in == ""
    assert opened(path, clock) == ""


@pytest.mark.parametrize("damage", ["UPDATE state SET body = '' WHERE scope = 'gpu'", "DELETE FROM state"])
def test_marks_that_are_lost_charge_nothing_again(path: Path, clock: ManualClock, damage: str) -> None:
    """That a GPU was there, or that money accrued, is enough to know that the ledger has begun."""
    posted = tick(NOVEMBER + HOUR, money(700))
    ledger = Ledger.open(path, clock, boot=BOOT)
    ledger.post(posted, replace(accrued(posted), elapsed=1, gpus={"GPU-0": GpuState(GPU_0, 0)}))
    ledger.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(damage)
        connection.commit()

    assert opened(path, clock) == ""


def test_a_ledger_of_an_earlier_boot_is_no_new_one(
    path: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """After a reboot it is still only the first of its own boot; `cost.gap` compares the two."""
    opened(path, clock)
    caplog.clear()

    assert opened(path, clock, NEXT) == "b00t-1"
    assert creations(caplog) == []
    assert (path.parent / MARK_NAME).read_text() == "b00t-2\n"


@pytest.mark.parametrize("removed", ["ledger.db", "ledger.db*"])
def test_a_ledger_that_was_deleted(
    path: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture, removed: str
) -> None:
    """It has charged since the boot; also one of before the boot that was opened in it."""
    opened(path, clock, NEXT)
    opened(path, clock)
    for file in path.parent.glob(removed):
        file.unlink()

    assert opened(path, clock) == ""
    assert creations(caplog)[1:] == [(*FROM_NOW, "another ledger was here since the boot")]


def test_another_name_in_the_same_folder(
    path: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The host's other ledger has the time since the boot."""
    opened(path, clock)

    assert opened(path.with_name("second.db"), clock) == ""
    assert creations(caplog)[1:] == [(*FROM_NOW, "another ledger was here since the boot")]


def test_one_that_was_deleted_before_the_boot_is_no_matter(path: Path, clock: ManualClock) -> None:
    """Its lock and its mark are left behind, and name an earlier boot."""
    opened(path, clock)
    path.unlink()

    assert opened(path, clock, NEXT) == "b00t-2"


@pytest.mark.parametrize("name", ["ledger.db.foreign-1", "ledger.db.corrupt-2", "ledger.db-wal"])
def test_a_new_ledger_next_to_a_file_that_was_moved_aside(
    path: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """What is in it may be of this boot."""
    path.with_name(name).write_bytes(b"")

    assert opened(path, clock) == ""
    assert creations(caplog) == [(*FROM_NOW, f"{name} is next to it")]


@pytest.mark.parametrize("content", [b"no database at all", b"SQLite format 3\0 and then nothing"])
def test_in_the_place_of_a_damaged_one(path: Path, clock: ManualClock, content: bytes) -> None:
    """It is moved aside, and the new ledger begins now."""
    path.write_bytes(content)
    ledger = Ledger.open(path, clock, boot=BOOT)
    ledger.close()

    assert ledger.moved_aside is not None
    assert ledger.state().fresh_in == ""
    assert opened(path, clock) == ""


def test_in_the_place_of_another_machines(path: Path, clock: ManualClock) -> None:
    """Moved aside at the first tick."""
    ledger = Ledger.open(path, clock, boot=BOOT)
    assert ledger.state().fresh_in == "b00t-1"
    ledger.start_over()
    ledger.close()

    assert ledger.moved_aside == path.with_name("ledger.db.foreign-1")
    assert ledger.state().fresh_in == ""


LONG_AGO = "the host booted more than an hour ago"


@pytest.mark.parametrize(
    ("elapsed", "fresh_in", "expected"),
    [(HOUR - 1, "b00t-1", (*FROM_BOOT, None)), (HOUR, "", (*FROM_NOW, LONG_AGO))],
)
def test_on_a_host_that_booted_long_ago(
    path: Path,
    clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
    elapsed: int,
    fresh_in: str,
    expected: object,
) -> None:
    """An hour is long."""
    assert opened(path, clock, replace(BOOT, elapsed=elapsed)) == fresh_in
    assert creations(caplog) == [expected]


def test_the_place_of_a_link_is_where_it_leads(path: Path, clock: ManualClock, tmp_path: Path) -> None:
    """A link from a disk into memory does not stay."""
    folders: list[Path] = []

    def stays(folder: Path) -> str:
        folders.append(folder)
        return ""

    (tmp_path / "elsewhere").mkdir()
    path.symlink_to(tmp_path / "elsewhere" / "ledger.db")

    assert opened(path, clock, replace(BOOT, fleeting=stays)) == "b00t-1"
    assert folders == [tmp_path.resolve() / "elsewhere"]


def test_where_no_mark_can_be_left(path: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture) -> None:
    """The next ledger here could not know of this one."""
    (path.parent / MARK_NAME).mkdir()

    assert opened(path, clock) == ""
    assert creations(caplog) == [(*FROM_NOW, f"{path.parent / MARK_NAME} cannot be used (Is a directory)")]


def test_books_in_memory_begin_now(clock: ManualClock, tmp_path: Path) -> None:
    """A directory in the file's place, and no path at all."""
    for path in (None, tmp_path):
        ledger = Ledger.open(path, clock, boot=BOOT)
        assert (ledger.persistent, ledger.state().fresh_in) == (False, "")
        ledger.close()


# Lines of /proc/self/mountinfo as the kernel writes them: proc_pid_mountinfo(5).
DISK = "29 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw"
LAYER = "812 700 0:98 / / rw,relatime master:5 - overlay overlay rw,lowerdir=/a,upperdir=/b,workdir=/c"


def mount(root: str, kind: str = "ext4", point: str = "{folder}") -> str:
    return f"830 812 259:2 {root} {point} rw,relatime - {kind} /dev/nvme0n1p2 rw"


HEX = "0123456789abcdef" * 4
POD = "/var/lib/kubelet/pods/7d0c2b7e-5f0f-4a4f-9a3e-3a0b9f5b8e11/volumes"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([DISK], ""),
        ([LAYER, mount("/var/lib/inference-cost-exporter")], ""),
        ([LAYER, mount("/", kind="xfs")], ""),
        ([LAYER, mount("/var/lib/docker/volumes/ledger/_data")], ""),
        ([LAYER], "its folder is on overlay, which does not stay"),
        ([DISK, mount("/", kind="tmpfs")], "its folder is on tmpfs, which does not stay"),
        ([LAYER, mount("/x", point="{folder}-2")], "its folder is on overlay, which does not stay"),
        # The later of two mounts on one point is the one that is seen.
        ([mount("/"), mount("/", kind="tmpfs")], "its folder is on tmpfs, which does not stay"),
        (
            [LAYER, mount(f"{POD}/kubernetes.io~empty-dir/ledger")],
            "its folder is an emptyDir, which ends with the pod",
        ),
        (
            [LAYER, mount(f"/var/lib/docker/volumes/{HEX}/_data")],
            "its folder is a volume without a name, which is one container's",
        ),
        (
            [LAYER, mount(f"/var/lib/containerd/io.containerd.grpc.v1.cri/containers/{HEX}/volumes/{HEX}")],
            "its folder is a volume without a name, which is one container's",
        ),
        (["not a mount"], "its folder is on an unknown file system, which does not stay"),
        ([], "its folder is on an unknown file system, which does not stay"),
        (None, "the file system of its folder is unknown"),
    ],
)
def test_a_folder_that_may_be_gone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lines: list[str] | None, expected: str
) -> None:
    """A container's own layer or volume, memory, an emptyDir; a hostPath and a disk stay."""
    folder = tmp_path / "a folder"
    folder.mkdir()
    monkeypatch.setattr("exporter.ledger.boot._OPEN_TO_ALL", 1 << 30)
    mounts = tmp_path / "mountinfo"
    if lines is not None:
        escaped = str(folder).replace(" ", "\\040")
        mounts.write_text("".join(line.replace("{folder}", escaped) + "\n" for line in lines))

    assert fleeting(folder, mounts) == expected


@pytest.mark.parametrize(
    ("lines", "ends"),
    [
        ([LAYER, mount(f"{POD}/kubernetes.io~empty-dir/ledger")], True),
        # Where /var/lib/kubelet is a disk of its own.
        ([LAYER, mount("/pods/7d0c2b7e/volumes/kubernetes.io~empty-dir/ledger", kind="xfs")], True),
        ([LAYER, mount("/var/lib/inference-cost-exporter")], False),
        ([LAYER, mount(f"{POD}/kubernetes.io~csi/pvc-1/mount")], False),
        ([LAYER, mount("/", kind="tmpfs")], False),
        ([mount(f"{POD}/kubernetes.io~empty-dir/ledger"), mount("/var/lib/inference-cost-exporter")], False),
        ([LAYER], False),
        (None, False),
    ],
)
def test_a_ledger_that_ends_with_its_pod(
    path: Path, clock: ManualClock, tmp_path: Path, lines: list[str] | None, *, ends: bool
) -> None:
    """It is on disk and written, goes on in the next container, and says that there is no next pod."""
    mounts = tmp_path / "mountinfo"
    if lines is not None:
        resolved = (line.replace("{folder}", str(path.parent)) for line in lines)
        mounts.write_text("".join(f"{line}\n" for line in resolved))
    boot = replace(BOOT, ends_with_pod=lambda file: ends_with_pod(file, mounts))
    for _ in range(2):
        ledger = Ledger.open(path, clock, boot=boot)
        totals = ledger.totals(NOVEMBER, ())
        ledger.close()

        assert (totals.persistent, totals.writable, totals.fleeting) == (True, True, ends)
        assert (ledger.problem, ledger.fleeting) == (
            "",
            f"{path} is on an emptyDir: the next pod begins at 0; mount a folder of the node instead"
            if ends
            else "",
        )


def test_a_folder_below_one_for_temporary_files(tmp_path: Path) -> None:
    """Anybody may write to /tmp, /var/tmp and /dev/shm, and all is swept from there."""
    shared = tmp_path / "tmp"
    (shared / "mine").mkdir(parents=True)
    shared.chmod(0o1777)

    assert fleeting(shared / "mine") == f"{shared} is for temporary files"


@pytest.mark.parametrize("make", [os.mkfifo, lambda mark: mark.symlink_to("/dev/null")], ids=["fifo", "link"])
def test_a_mark_that_is_no_file_is_neither_waited_for_nor_followed(
    path: Path, clock: ManualClock, make: Callable[[Path], None]
) -> None:
    """The ledger begins now, and what lies there stays."""
    mark = path.parent / MARK_NAME
    make(mark)
    before = os.lstat(mark)
    assert opened(path, clock) == ""
    assert os.lstat(mark) == before
