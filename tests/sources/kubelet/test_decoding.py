"""Messages that are broken, hostile, or of a later release."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.readings import ReadFailedError
from exporter.sources.kubelet import Allocations, UnknownDevice
from exporter.sources.kubelet.pod_resources import DEVICES_MAX, UNKNOWN_MAX, allocations
from exporter.sources.kubelet.protobuf import FIELDS_MAX
from exporter.vendors import Device

REPLIES = [file.read_bytes() for file in sorted((Path(__file__).parent / "replies").glob("*.binpb"))]
GPU = b"GPU-5b1c3a2e-9f40-4d7a-8c61-0a1b2c3d4e5f"


def part(number: int, content: bytes) -> bytes:
    """A field of bytes; lengths up to 2 MiB."""
    size = len(content)
    length = bytes([size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14])
    return bytes([number << 3 | 2]) + length + content


def reply(*ids: bytes, pod: bytes = b"chat-0", resource: bytes = b"nvidia.com/gpu") -> bytes:
    """One pod with one container with devices; the names come last, as they may."""
    devices = b"".join(part(2, identifier) for identifier in ids) + part(1, resource)
    container = part(2, devices) + part(1, b"main")
    return part(1, part(3, container) + part(2, b"default") + part(1, pod))


def failure(data: bytes) -> tuple[str, str]:
    """Reason and message of what cannot be read."""
    with pytest.raises(ReadFailedError) as failed:
        allocations(data)
    return failed.value.reason, str(failed.value)


def test_a_reply_without_pods_is_one() -> None:
    """An empty host has told that nobody holds anything."""
    assert allocations(b"") == Allocations()


def test_fields_may_come_in_any_order() -> None:
    """The encoding promises none."""
    (allocation,) = allocations(reply(GPU)).allocations
    assert (allocation.pod, allocation.container, allocation.resource) == ("chat-0", "main", "nvidia.com/gpu")
    assert allocation.device == Device(GPU.decode())


def test_the_same_id_twice_in_a_container_is_one_device() -> None:
    """It is told for each NUMA node that it is near."""
    assert len(allocations(reply(GPU, GPU)).allocations) == 1


@pytest.mark.parametrize(
    "later",
    [
        pytest.param(b"\x30\x96\x01", id="number"),
        pytest.param(b"\x30" + b"\xff" * 9 + b"\x01", id="longest-number"),
        pytest.param(b"\x31" + bytes(8), id="fixed64"),
        pytest.param(b"\x35" + bytes(4), id="fixed32"),
        pytest.param(b"\x32\x03\xff\xff\xff", id="bytes"),
        pytest.param(b"\xfa\xff\xff\xff\x0f\x01x", id="largest-field-number"),
        pytest.param(b"\x08\x01", id="known-number-of-another-type"),
    ],
)
@pytest.mark.parametrize("before", [True, False])
def test_what_a_later_release_adds_is_skipped(later: bytes, *, before: bool) -> None:
    """Whatever its type; a field of another type than ours is not ours."""
    known = reply(GPU)
    assert allocations(later + known if before else known + later) == allocations(known)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"\x0a", "a number without an end, at byte 1", id="no-length"),
        pytest.param(b"\x0a\x05abcd", "a field that ends after its message, at byte 2", id="short"),
        pytest.param(
            b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            "a field that ends after its message, at byte 11",
            id="huge",
        ),
        pytest.param(b"\x0a" + b"\x80" * 10 + b"\0", "a number without an end, at byte 1", id="long-length"),
        pytest.param(b"\x80" * 5 + b"\x01", "a number without an end, at byte 0", id="long-tag"),
        pytest.param(b"\x02\x00", "a field without a number, at byte 1", id="number-zero"),
        pytest.param(b"\x0b\x0c", "wire type 3, at byte 1", id="group"),
        pytest.param(b"\x0e", "wire type 6, at byte 1", id="wire-type"),
        pytest.param(b"\x09\0\0\0", "a number that ends after its message, at byte 9", id="short-fixed"),
        pytest.param(
            b"\x0a\x02\x1a\x05" + bytes(8),
            "a field that ends after its message, at byte 4",
            id="out-of-its-parent",
        ),
        pytest.param(reply(GPU, pod=b"\xff"), "a string that is not UTF-8, at byte 97", id="not-utf8"),
        pytest.param(reply(GPU, pod=b""), "a GPU held by '', which is no name", id="no-name"),
        pytest.param(reply(GPU, pod=b"Chat"), "a GPU held by 'Chat', which is no name", id="capitals"),
        pytest.param(reply(GPU, pod=b"a\n"), "a GPU held by 'a', which is no name", id="new-line"),
        pytest.param(
            reply(GPU, pod=b"a" * 254), f"a GPU held by '{'a' * 128}', which is no name", id="long-name"
        ),
    ],
)
def test_what_is_no_reply_is_told(data: bytes, message: str) -> None:
    """With the place where it broke."""
    assert failure(data) == ("malformed", message)


@pytest.mark.parametrize("data", REPLIES)
def test_no_part_of_a_reply_passes_for_a_whole(data: bytes) -> None:
    """Cut anywhere but between two pods, it is no reply."""
    whole = {0, len(data)}
    at = 0
    while at < len(data):  # each pod is a tag, a length of one or two bytes, and that many
        length, size = (
            (data[at + 1], 2) if data[at + 1] < 128 else (data[at + 1] - 128 + 128 * data[at + 2], 3)
        )
        at += size + length
        whole.add(at)
    for end in set(range(len(data))) - whole:
        assert failure(data[:end])[0] == "malformed"


def test_pods_without_gpus_need_no_name() -> None:
    """Only who holds a GPU is looked at, so that a strange neighbor costs nothing."""
    assert allocations(reply(b"0000:c1:00.0", pod=b"???", resource=b"amd.com/gpu")) == Allocations()


def test_unknown_ids_are_counted_and_a_few_are_shown() -> None:
    """However many there are, and however long, on one line."""
    allocated = allocations(reply(*[b"a\nb\x1b[0m" + b"x" * 1000] * 100))
    assert allocated.unknown_count == 100
    assert allocated.unknown == (UnknownDevice("nvidia.com/gpu", "ab[0m" + "x" * 123),) * UNKNOWN_MAX


def test_more_devices_than_a_host_has_are_refused() -> None:
    """They would take the memory of the daemon."""
    ids = [b"all"] * DEVICES_MAX
    assert len(allocations(reply(*ids)).allocations) == 1
    assert failure(reply(*ids, b"all"))[0] == "too_large"


def test_more_fields_than_are_looked_at_are_refused() -> None:
    """Sixteen megabytes of empty pods would take the better part of a minute."""
    assert allocations(b"\x0a\x00" * FIELDS_MAX) == Allocations()
    reason, message = failure(b"\x0a\x00" * (FIELDS_MAX + 1))
    assert (reason, message) == ("too_large", "more than 1048576 fields")


def survives(data: bytes) -> None:
    """Read it, or fail as a source may."""
    try:
        allocated = allocations(data)
    except ReadFailedError as failed:
        outcome = failed.reason
        bounded = len(str(failed)) < 300
    else:
        outcome = "read"
        bounded = len(allocated.unknown) == min(allocated.unknown_count, UNKNOWN_MAX)
    assert outcome in ("read", "malformed", "too_large")
    assert bounded


@given(st.binary(max_size=400))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    """They are a reply, or they are not."""
    survives(data)


@given(st.sampled_from(REPLIES), st.data())
def test_no_damage_breaks_the_reader(data: bytes, draw: st.DataObject) -> None:
    """Bytes changed, cut out or put in."""
    begin = draw.draw(st.integers(0, len(data)))
    end = draw.draw(st.integers(begin, min(len(data), begin + 4)))
    survives(data[:begin] + draw.draw(st.binary(max_size=4)) + data[end:])
