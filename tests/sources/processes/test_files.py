"""The files of a process, each as the kernel and the container runtimes write it, and as nobody would."""

import struct
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.sources.processes.cgroups import Cgroup, cgroup
from exporter.sources.processes.procfs import (
    ADDRESSES_MAX,
    COMMAND_BYTES,
    LISTENERS_MAX,
    TICK,
    ListeningSocket,
    Proc,
    Stat,
    addresses4,
    addresses6,
    command_line,
    listeners,
    loopback,
    past_listeners,
    stat,
    user,
)
from tests.sources.processes.proc_host import ANY, TABLE, row

C = "0123456789abcdef" * 4
D = "fedcba9876543210" * 4
UID = "0a1b2c3d-1111-2222-3333-444455556666"
OTHER = "0f0f0f0f-1111-2222-3333-444455556666"
PODS = f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID.replace('-', '_')}.slice"
KIND = f"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{UID.replace('-', '_')}.slice"
STAT = b"42 (a) b) R 7 40 41 34816 42 4194560 1 0 0 0 3 4 0 0 20 0 1 0 123456 8192 5 18446744073709551615\n"


def test_a_stat_is_read_by_its_last_parenthesis() -> None:
    """A process calls itself what it likes, parentheses, spaces and line ends included."""
    assert stat(STAT) == Stat(42, "a) b", "R", 7, 41, kernel=False, started=123456 * TICK)
    assert stat(STAT.replace(b"a) b", b"\n) S 1 1 (\xff")) == Stat(
        42, "\n) S 1 1 (\ufffd", "R", 7, 41, kernel=False, started=123456 * TICK
    )


def test_kernel_threads_are_told_by_their_flag() -> None:
    """2129984 is PF_KTHREAD with two others."""
    parsed = stat(b"2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 10 0 0\n")

    assert parsed is not None
    assert parsed.kernel


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"42 (a",
        b") 42 (a) S 1",
        b"42 (a) S 1 1 1",
        STAT.replace(b" 123456 ", b" -1 "),
        STAT.replace(b" 123456 ", b" 99999999999999999999 "),
        STAT.replace(b" 123456 ", b" 1_0 "),
        STAT.replace(b"42 (", b"x ("),
        STAT.replace(b" R 7 ", b" R 0x7 "),
    ],
)
def test_what_is_no_stat_is_not_read(content: bytes) -> None:
    """A line that is cut, or whose numbers are none, says nothing."""
    assert stat(content) is None


def test_a_process_has_a_user_where_all_four_ids_are_one() -> None:
    """A setuid program's command line is of another user than its sockets; such a one has no user."""
    assert user(b"Name:\tx\nUid:\t1000\t1000\t1000\t1000\nGid:\t5\t5\t5\t5\n") == 1000
    assert user(b"Name:\tx\nUid:\t1000\t0\t0\t0\nGid:\t5\t5\t5\t5\n") is None
    assert user(b"Name:\tx\nUid:\t1000\t1000\t1000\t10001\n") is None
    assert user(b"Name:\tUid:\t4\t4\t4\t4\nGid:\t5\t5\t5\t5\n") is None
    assert user(b"Uid:\t1\t1\t1\n") is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"vllm\0serve\0a b\0\0", ("vllm", "serve", "a b")),
        (b"vllm\0--x=\0", ("vllm", "--x=")),
        (b"VLLM::EngineCore\0\0\0\0", ("VLLM::EngineCore",)),
        (b"sglang::scheduler_TP0      ", ("sglang::scheduler_TP0",)),
        (b"", ()),
        (b"\0\0\0", ()),
        (b"\xff\0", ("\ufffd",)),
    ],
)
def test_a_command_line_is_read_as_words(content: bytes, words: tuple[str, ...]) -> None:
    """Titles that were written over one are one word, without what they are padded with."""
    assert command_line(content) == words


def test_a_command_line_that_was_cut_loses_its_last_word() -> None:
    """`--port 80` may have been `--port 8001`; an end that falls between words is none."""
    start = b"vllm\0" + b"x" * (COMMAND_BYTES - 5 - 10)
    cut = start + b"\0--port\x0080"

    assert len(cut) == COMMAND_BYTES
    assert command_line(cut)[2:] == ("--port",)
    assert command_line(cut[:-1] + b"\0")[2:] == ("--port", "8")


def _in(path: str, container: str, runtime: str = "", pod: str = "") -> Cgroup:
    return Cgroup(path, container, runtime, pod, "", shared=False)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            f"0::{PODS}/cri-containerd-{C}.scope",
            _in(f"{PODS}/cri-containerd-{C}.scope", C, "containerd", UID),
        ),
        (f"0::{PODS}/crio-{C}.scope", _in(f"{PODS}/crio-{C}.scope", C, "cri-o", UID)),
        (f"0::{PODS}/docker-{C}.scope", _in(f"{PODS}/docker-{C}.scope", C, "docker", UID)),
        (f"0::{PODS}:cri-containerd:{C}", _in(f"{PODS}:cri-containerd:{C}", C, "containerd", UID)),
        (f"0::/kubepods/pod{UID}/{C}", _in(f"/kubepods/pod{UID}/{C}", C, "", UID)),
        (
            f"0::/kubepods/besteffort/pod{D[:32]}/{C}",
            _in(f"/kubepods/besteffort/pod{D[:32]}/{C}", C, "", D[:32]),
        ),
        (f"0::{KIND}/x-{C}.scope", _in(f"{KIND}/x-{C}.scope", C, "", UID)),
        (f"0::/docker/{C}", _in(f"/docker/{C}", C, "docker")),
        (f"0::/system.slice/docker-{C}.scope/init", _in(f"/system.slice/docker-{C}.scope", C, "docker")),
        (f"0::/docker/{D}/docker/{C}", _in(f"/docker/{D}", D, "docker")),
        (
            f"0::{PODS}/cri-containerd-{C}.scope/docker/{D}",
            _in(f"{PODS}/cri-containerd-{C}.scope", C, "containerd", UID),
        ),
        (
            f"0::/kubepods/pod{UID}/{C}/kubepods/pod{OTHER}/{D}",
            _in(f"/kubepods/pod{UID}/{C}", C, "", UID),
        ),
        (f"0::/docker/{C}/kubepods/pod{UID}/{D}", _in(f"/docker/{C}", C, "docker")),
        (
            f"0::/system.slice/containerd.service/kubepods-pod{UID}.slice:cri-containerd:{C}",
            _in(
                f"/system.slice/containerd.service/kubepods-pod{UID}.slice:cri-containerd:{C}",
                C,
                "containerd",
                UID,
            ),
        ),
        (
            f"0::/machine.slice/machine-libpod_pod_{D}.slice/libpod-{C}.scope",
            _in(f"/machine.slice/machine-libpod_pod_{D}.slice/libpod-{C}.scope", C, "podman"),
        ),
        (
            f"0::/machine.slice/libpod-{C}.scope/container",
            _in(f"/machine.slice/libpod-{C}.scope", C, "podman"),
        ),
        (f"0::/../../../docker/{C}", _in(f"/docker/{C}", C, "docker")),
        (f"0::/../cri-containerd-{C}.scope", _in(f"/cri-containerd-{C}.scope", C, "containerd")),
        (f"2:cpu:/docker/{C}\n1:name=systemd:/docker/{C}\n0::/", _in(f"/docker/{C}", C, "docker")),
        (f"4:memory:/docker/{C}\n0::/system.slice/containerd.service", _in(f"/docker/{C}", C, "docker")),
    ],
)
def test_containers_and_pods_are_told_by_every_runtimes_spelling(lines: str, expected: Cgroup) -> None:
    """The outermost counts: what is made below it, with names of pods and containers, is its own."""
    assert cgroup(f"{lines}\n".encode()) == expected


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        (f"/system.slice/jupyterhub.service/kubepods-pod{UID}.slice/cri-containerd-{C}.scope", ""),
        (f"/user.slice/user-1.slice/user@1.service/kubepods/pod{UID}/{C}", ""),
        (f"/lxc.payload.web/kubepods/pod{UID}/{C}", ""),
        (f"/system.slice/chat.service/libpod-payload-{C}", "chat.service"),
    ],
)
def test_below_a_unit_or_another_system_a_name_is_no_pod(path: str, unit: str) -> None:
    """Who runs there may make cgroups. What a unit of the host starts in a container is still the unit's."""
    parsed = cgroup(f"0::{path}\n".encode())

    assert (parsed.container, parsed.pod, parsed.delegated, parsed.system_unit) == (C, "", True, unit)


@pytest.mark.parametrize(
    ("path", "anchor", "unit", "shared"),
    [
        ("/system.slice/vllm.service", "/system.slice/vllm.service", "vllm.service", False),
        ("/system.slice/vllm.service/workers", "/system.slice/vllm.service", "vllm.service", False),
        ("/system.slice/system-llama.slice/llama@a.service", None, "llama@a.service", False),
        ("/system.slice/run-r1234.scope", None, "run-r1234.scope", False),
        (
            "/slurmstepd.scope/job_7/step_0/user",
            "/slurmstepd.scope/job_7",
            "job_7",
            False,
        ),
        ("/user.slice/user-1.slice/user@1.service/app.slice/llm.service", None, "llm.service", False),
        (
            "/user-1.slice/user@1.service/app.slice/vte-spawn-1.scope",
            None,
            "vte-spawn-1.scope",
            True,
        ),
        ("/user.slice/user-1.slice/user@1.service", None, "user@1.service", True),
        ("/user.slice/user-1.slice/session-3.scope", None, "session-3.scope", True),
        ("/system.slice/ssh.service", None, "ssh.service", True),
        ("/system.slice/sshd@9-1.service", None, "sshd@9-1.service", True),
        ("/system.slice/cron.service", None, "cron.service", True),
        ("/init.scope", None, "init.scope", True),
        ("/lxc.payload.web", None, "", True),
        ("/", None, "", True),
    ],
)
def test_units_are_told_and_whether_strangers_share_them(
    path: str, anchor: str | None, unit: str, *, shared: bool
) -> None:
    """A service is one thing; a session, and a service that starts what it is asked to, are not."""
    parsed = cgroup(f"0::{path}\n".encode())
    assert parsed._replace(system_unit="", delegated=False) == Cgroup(
        anchor or path, unit=unit, shared=shared
    )


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("/system.slice/vllm.service", "vllm.service"),
        ("/system.slice/system-llama.slice/llama@a.service", "llama@a.service"),
        ("/system.slice/run-r1234.scope", "run-r1234.scope"),
        # What runs in a unit names the cgroups below it as it likes.
        ("/system.slice/notebooks.service/system.slice/vllm.service", "notebooks.service"),
        # A user's manager starts units of any name.
        ("/user.slice/user-1001.slice/user@1001.service/app.slice/vllm.service", ""),
        ("/user.slice/user-1001.slice/user@1001.service/x/system.slice/vllm.service", ""),
        ("/../../user-1001.slice/user@1001.service/app.slice/vllm.service", ""),
        ("/user@1001.service/vllm.service", ""),
        ("/user.slice/user-1001.slice/session-3.scope", ""),
        # Services that start what they are asked to.
        ("/system.slice/cron.service", ""),
        ("/system.slice/sshd@9-1.service", ""),
        ("/system.slice/jupyterhub.service/vllm.service", ""),
        ("/slurmstepd.scope/job_7/step_0/user", ""),
        ("/lxc.payload.web/system.slice/vllm.service", ""),
        ("/", ""),
    ],
)
def test_a_system_unit_is_the_outermost_that_no_user_started(path: str, unit: str) -> None:
    """A credential goes to a unit by its name, so nobody else may be able to choose it."""
    assert cgroup(f"0::{path}\n".encode()).system_unit == unit


def test_a_hybrid_hosts_unit_is_systemds() -> None:
    """Where version 2 says nothing, its own hierarchy does."""
    lines = "5:memory:/x\n1:name=systemd:/system.slice/vllm.service\n0::/\n"

    assert cgroup(lines.encode()).unit == "vllm.service"


@pytest.mark.parametrize("digits", [C[:63], C + "0", C.upper()])
def test_other_numbers_of_digits_are_no_container(digits: str) -> None:
    """An id has 64 digits, in lower case."""
    assert cgroup(f"0::/docker/{digits}\n".encode()).container == ""


def test_listeners_are_read_by_their_state() -> None:
    """Addresses stand in the order of the machine; those for all, and mapped ones, are told as they are."""
    table = (
        TABLE
        + row(ANY, 8000, 11)
        + row("127.0.0.1", 65535, 12, 1000)
        + row("10.0.0.1", 8001, 13, state="01")
        + row("::", 8002, 14)
        + row("::1", 8003, 15)
        + row("2001:db8::1", 8004, 16)
        + row("::ffff:10.0.0.9", 8005, 17)
    )

    assert listeners(table.encode()) == (
        ListeningSocket("", 8000, 11, 0),
        ListeningSocket("127.0.0.1", 65535, 12, 1000),
        ListeningSocket("::", 8002, 14, 0),
        ListeningSocket("::1", 8003, 15, 0),
        ListeningSocket("2001:db8::1", 8004, 16, 0),
        ListeningSocket("10.0.0.9", 8005, 17, 0),
    )


@pytest.mark.parametrize(
    "line",
    [
        "0: 0100007F:1F40 0:0 0A 0:0 0:0 0 0 0",
        "0: 0100007F:1F40 0:0 0A 0:0 0:0 0 0 0 -1 1",
        "0: 0100007F:1F40 0:0 0A 0:0 0:0 0 -1 0 1 1",
        "0: 0100007F:1F4 0:0 0A 0:0 0:0 0 0 0 1 1",
        "0: 0100007f:1F40 0:0 0A 0:0 0:0 0 0 0 1 1",
        "0: 00007F:1F40 0:0 0A 0:0 0:0 0 0 0 1 1",
        "0: 0100007F 0:0 0A 0:0 0:0 0 0 0 1 1",
    ],
)
def test_what_is_no_listener_is_passed_over(line: str) -> None:
    """A line that is cut or damaged says nothing, and the next one counts."""
    good = row("127.0.0.1", 80, 1)

    assert listeners(f"{line}\n{good}".encode()) == (ListeningSocket("127.0.0.1", 80, 1, 0),)


def test_listeners_and_addresses_are_bounded() -> None:
    """A namespace may have as many as it likes."""
    table = "".join(row("127.0.0.1", 80, inode) for inode in range(1, LISTENERS_MAX + 10))
    trie = "".join(f"|-- 10.0.0.{last}\n   /32 host LOCAL\n" for last in range(1, ADDRESSES_MAX + 10))

    assert len(listeners(table.encode())) == LISTENERS_MAX
    assert len(addresses4(trie.encode())) == ADDRESSES_MAX
    assert addresses4(b"|-- 10.0.0.999\n   /32 host LOCAL\n") == ()
    assert addresses6(b"x 02 40 00 80 eth0\n") == ()


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**16 - 1), st.integers(0, 2**63))
def test_an_address_is_read_back(address: int, port: int, inode: int) -> None:
    """The kernel prints the word that it holds, which is in network order, as a number of this machine."""
    (word,) = struct.unpack("<I", struct.pack(">I", address))
    line = f"0: {word:08X}:{port:04X} 0:0 0A 0:0 0:0 0 0 0 {inode} 1\n"

    assert listeners(line.encode()) == (
        ListeningSocket("" if not address else str(IPv4Address(address)), port, inode, 0),
    )


@given(st.integers(1, 2**128 - 1))
def test_an_address_of_an_interface_is_read_back(address: int) -> None:
    """net/if_inet6 has the digits in their own order."""
    expected = IPv6Address(address)
    useful = not (expected.is_loopback or expected.is_link_local or expected.is_multicast)
    line = f"{address:032x} 02 40 00 80     eth0\n"

    assert addresses6(line.encode()) == ((str(expected),) if useful else ())


def test_addresses_that_lead_nowhere_are_left_out() -> None:
    """Loopback, link-local, duplicate and tentative ones; networks and broadcasts are no addresses."""
    trie = (
        "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.0.0.0\n        /24 link UNICAST\n"
        "Local:\n     |-- 127.0.0.1\n        /32 host LOCAL\n     |-- 10.0.0.5\n        /32 host LOCAL\n"
        "     |-- 10.0.0.255\n        /32 link BROADCAST\n     |-- 169.254.1.1\n        /32 host LOCAL\n"
        "     |-- 10.0.0.5\n        /32 host LOCAL\n"
    )
    interfaces = (
        f"{'0' * 31}1 01 80 10 80       lo\nfe800000000000000000000000000001 02 40 20 80     eth0\n"
        "20010db8000000000000000000000001 02 40 00 c0     eth0\n"
        "20010db8000000000000000000000002 02 40 00 88     eth0\n"
        "20010db8000000000000000000000003 02 40 00 80     eth0\n"
    )

    assert addresses4(trie.encode()) == ("10.0.0.5",)
    assert addresses6(interfaces.encode()) == ("2001:db8::3",)


def test_loopback_is_told_in_every_spelling() -> None:
    """What is no address is not told to be one."""
    assert [loopback(host) for host in ("127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1")] == [True] * 4
    assert [loopback(host) for host in ("", "10.0.0.1", "localhost", "x")] == [False] * 4


def test_a_descriptors_link_tells_its_socket(tmp_path: Path) -> None:
    """Others are no sockets."""
    folder = tmp_path / "10" / "fd"
    folder.mkdir(parents=True)
    for number, link in enumerate(("socket:[51001]", "pipe:[1]", "/dev/nvidia0", "socket:[x]")):
        (folder / str(number)).symlink_to(link)
    assert Proc(tmp_path).sockets(10, 10) == {51001}
    assert Proc(tmp_path).sockets(10, 0) == frozenset()
    assert Proc(tmp_path).sockets(11, 10) is None


def test_a_table_is_read_until_another_socket_stands_last() -> None:
    """A listener, and a line that is cut, say nothing of what follows; a part that is no page is the last."""
    listener, other = row(ANY, 1, 1).encode(), row("10.0.0.1", 1, 1, state="06").encode()
    page = TABLE.encode() + 60 * listener

    assert not past_listeners(page)
    assert not past_listeners(page + other[:20])
    assert past_listeners(page + other)
    assert past_listeners(TABLE.encode() + listener)


@given(
    st.binary(max_size=400)
    | st.lists(st.sampled_from([b"1", b" ", b"(", b")", b"S ", b"\n", b"0 " * 19])).map(b"".join)
)
def test_no_bytes_make_a_stat_or_a_command_line_raise(noise: bytes) -> None:
    """Whatever stands there, something or nothing is read."""
    stat(noise)
    user(noise)

    assert sum(map(len, command_line(noise))) <= len(noise)


@given(
    st.binary(max_size=400)
    | st.lists(
        st.sampled_from(["0::", "1:name=systemd:", "/", "..", "pod", UID, C, ".scope", ":", "\n", "x"])
    ).map(lambda parts: "".join(parts).encode())
)
def test_no_bytes_make_a_cgroup_raise(noise: bytes) -> None:
    """A container is 64 digits or none, and every process is somewhere."""
    parsed = cgroup(noise)

    assert len(parsed.container) in (0, 64)
    assert parsed.anchor.startswith("/")


@given(
    st.binary(max_size=400)
    | st.lists(
        st.sampled_from([" ", "\n", "0A", "00000000:1F40", "|-- ", "10.0.0.1", "/32 host LOCAL", "f" * 32])
    ).map(lambda parts: "".join(parts).encode())
)
def test_no_bytes_make_the_tables_raise(noise: bytes) -> None:
    """Lines that are none are passed over."""
    for listener in listeners(noise):
        assert 0 <= listener.port <= 65535
    addresses4(noise)
    addresses6(noise)
    past_listeners(noise)
