"""Serialized pods: what is read of them, and what is broken, hostile or of a later release."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.readings import ReadFailedError
from exporter.sources.kubelet.protobuf import FIELDS_MAX
from exporter.sources.kubernetes import Container, Pod, Workload
from exporter.sources.kubernetes.pod_object import (
    ContainerSpec,
    ContainerState,
    ContainerStatus,
    ObjectMeta,
    OwnerReference,
    PodObject,
    PodSpec,
    PodStatus,
    Running,
    from_json,
    from_protobuf,
)
from exporter.sources.kubernetes.pods import pod_of

RECORDINGS = Path(__file__).parent / "recordings"
BYTES = sorted(RECORDINGS.glob("*.binpb"))
REPLIES = [file.read_bytes() for file in BYTES]


def varint(value: int) -> bytes:
    """A number of variable length, as the encoding has it; one below zero takes ten bytes."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def part(number: int, *contents: bytes | str) -> bytes:
    """A field with a text or a message of several fields."""
    content = b"".join(each.encode() if isinstance(each, str) else each for each in contents)
    return varint(number << 3 | 2) + varint(len(content)) + content


def integer(number: int, value: int) -> bytes:
    """A field with a number or a truth value."""
    return varint(number << 3) + varint(value)


def only_pod(*fields: bytes) -> PodObject:
    """The pod of a reply with one pod of these fields."""
    (pod,) = from_protobuf(part(1, *fields))
    return pod


def failure(reply: bytes) -> tuple[str, str]:
    """Reason and message of what cannot be read."""
    with pytest.raises(ReadFailedError) as failed:
        list(from_protobuf(reply))
    return failed.value.reason, str(failed.value)


def decoded(reply: bytes) -> list[Pod | None]:
    return [pod_of(pod) for pod in from_protobuf(reply)]


@pytest.mark.parametrize("file", BYTES, ids=lambda file: file.stem)
def test_a_pod_is_the_same_whether_it_is_told_as_json_or_serialized(file: Path) -> None:
    """Another library wrote the bytes from the text beside them."""
    objects = list(from_json(file.with_suffix(".json").read_bytes()))
    expected = [None if item is None else pod_of(item) for item in objects]

    assert decoded(file.read_bytes()) == expected
    assert None not in expected
    assert len(expected) == {"debugged-pods": 1, "kubelet-pods": 14}[file.stem]


def test_a_pod_that_is_debugged_whole() -> None:
    """Commands, an ephemeral container, an owner that does not control, a container that ran before."""
    assert decoded((RECORDINGS / "debugged-pods.binpb").read_bytes()) == [
        Pod(
            namespace="ml",
            name="nightly-29926260-7xkqp",
            uid="6f1d5a0e-2a54-4a35-8a5c-0c7d3a1b9e21",
            workload=Workload("CronJob", "nightly"),
            live=True,
            labels={"app": "nightly", "note": ""},
            ips=("10.0.37.40",),
            containers=(
                Container(
                    "main",
                    "a" * 64,
                    argv=(
                        *("python3", "-m", "vllm.entrypoints.openai.api_server"),
                        *("--port", "8001", "--served-model-name", ""),
                    ),
                ),
                Container("debugger", "b" * 64, running=True, argv=("sh",)),
            ),
        )
    ]


def test_a_reply_without_pods_is_one() -> None:
    """An empty node has told that it has none."""
    assert list(from_protobuf(b"")) == []


def test_what_go_writes_of_empty_fields_is_told() -> None:
    """Go's own encoder writes fields that are empty; labels may be."""
    metadata = part(1, part(1, ""), part(11, part(1, "spot"), part(2, "")), part(11), part(8))
    spec = part(2, part(2, part(1, "main"), part(3, ""), part(5, "")))

    assert only_pod(metadata, spec) == PodObject(
        ObjectMeta(labels={"spot": "", "": ""}, creation_timestamp=datetime(1970, 1, 1, tzinfo=UTC)),
        PodSpec(containers=[ContainerSpec("main", command=[""])]),
    )


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        pytest.param(integer(1, 1795575600), datetime(2026, 11, 25, 3, tzinfo=UTC), id="a-time"),
        pytest.param(
            integer(1, 1795575600) + integer(2, 999999999),
            datetime(2026, 11, 25, 3, tzinfo=UTC),
            id="nanoseconds",
        ),
        pytest.param(b"", datetime(1970, 1, 1, tzinfo=UTC), id="none"),
        pytest.param(part(1, "2026"), datetime(1970, 1, 1, tzinfo=UTC), id="text"),
    ],
)
def test_a_time_is_that_of_the_json(time: bytes, expected: datetime) -> None:
    """A pod that is being deleted is, whatever the time says."""
    assert only_pod(part(1, part(9, time))).metadata.deletion_timestamp == expected


@pytest.mark.parametrize("seconds", [-1, 1 << 62])
def test_a_time_that_no_calendar_has_is_malformed(seconds: int) -> None:
    """Before 1970, which has no sign, and after the last year."""
    reply = part(1, part(1, part(9, integer(1, seconds))))
    assert failure(reply) == ("malformed", "a time that no calendar has, at byte 6")


def test_a_state_without_words_is_one() -> None:
    """Go leaves out what a container is not; what it is may be empty."""
    states = [part(8, part(1, name), part(2, state)) for name, state in (("a", part(2)), ("b", part(1)))]

    expected = [ContainerStatus("a", ContainerState(Running())), ContainerStatus("b", ContainerState())]
    assert only_pod(part(3, *states)) == PodObject(status=PodStatus(container_statuses=expected))


@pytest.mark.parametrize(
    "later",
    [
        pytest.param(integer(600, 150), id="number"),
        pytest.param(part(500, "x"), id="text"),
        pytest.param(varint(700 << 3 | 1) + bytes(8), id="fixed64"),
        pytest.param(varint(700 << 3 | 5) + bytes(4), id="fixed32"),
        pytest.param(integer(1, 7), id="a-name-that-is-a-number"),
        pytest.param(part(6, "x"), id="a-flag-that-is-a-text"),
    ],
)
def test_what_a_later_release_adds_is_skipped(later: bytes) -> None:
    """Whatever its type; a field of another type than ours is not ours."""
    owner = part(1, "Job") + part(3, "nightly") + integer(6, 1)
    expected = PodObject(ObjectMeta(owner_references=[OwnerReference("Job", "nightly", controller=True)]))

    assert only_pod(part(1, part(13, later, owner)), later) == expected
    assert only_pod(part(1, part(13, owner, later))) == expected


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        pytest.param(b"\x0a\x05abcd", "a field that ends after its message, at byte 2", id="short"),
        pytest.param(b"<html>", "wire type 4, at byte 1", id="page"),
        pytest.param(part(1, part(1, part(1, b"\xff"))), "a string that is not UTF-8, at byte 6", id="utf8"),
        pytest.param(
            part(1, part(1, b"\x0a\x7fx")), "a field that ends after its message, at byte 6", id="in"
        ),
        pytest.param(part(1, part(2, b"\x58\xff")), "a number without an end, at byte 5", id="flag"),
        pytest.param(part(1, part(1, part(8, b"\x08"))), "a number without an end, at byte 7", id="time"),
    ],
)
def test_what_is_no_list_of_pods_is_told(reply: bytes, message: str) -> None:
    """With the place where it broke; nothing of it counts as pods."""
    assert failure(reply) == ("malformed", message)


def test_more_fields_than_are_looked_at_are_refused() -> None:
    """However small each is, and in whatever pod."""
    half = part(1, *[part(4)] * (FIELDS_MAX // 2 - 1))

    assert list(from_protobuf(half * 2)) == [PodObject(), PodObject()]
    assert failure(half * 2 + part(1)) == ("too_large", "more than 1048576 fields")


def survives(reply: bytes) -> None:
    """Read it, or fail as a source may."""
    try:
        pods = decoded(reply)
    except ReadFailedError as failed:
        outcome, bounded = failed.reason, len(str(failed)) < 300
    else:
        outcome, bounded = "read", all(pod is None or len(pod.name) <= 253 for pod in pods)
    assert outcome in ("read", "malformed", "too_large")
    assert bounded


@given(st.binary(max_size=400))
def test_no_bytes_break_the_reader(reply: bytes) -> None:
    """They are a list of pods, or they are not."""
    survives(reply)
    survives(part(1, reply))
    survives(part(1, part(1, reply), part(2, reply), part(3, reply)))


@given(st.sampled_from(REPLIES), st.data())
def test_no_damage_breaks_the_reader(reply: bytes, draw: st.DataObject) -> None:
    """Bytes changed, cut out or put in."""
    begin = draw.draw(st.integers(0, len(reply)))
    end = draw.draw(st.integers(begin, min(len(reply), begin + 4)))
    survives(reply[:begin] + draw.draw(st.binary(max_size=4)) + reply[end:])
