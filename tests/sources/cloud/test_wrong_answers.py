"""Answers that are none: whoever sits at 169.254.169.254, the place is right or there is none."""

import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from exporter.readings import ReadFailedError
from exporter.sources.cloud import CloudSource
from exporter.sources.cloud.metadata import BODY_BYTES_MAX
from exporter.units import nanoseconds
from tests.kit.clock import clock_at
from tests.sources.cloud.metadata_server import (
    AWS_DOCUMENT,
    AWS_DOCUMENT_PATH,
    AWS_LIFECYCLE_PATH,
    AWS_SESSION_PATH,
    AZURE_COMPUTE,
    AZURE_PATH,
    CLOUDS,
    GCP_PATHS,
    NEBIUS_DATA,
    NEBIUS_PATH,
    OCI_PATHS,
    MetadataServer,
    Reply,
    aws,
    azure,
    gcp,
    nebius,
    oci,
)

Make = Callable[..., CloudSource]
FailureOf = Callable[[CloudSource], ReadFailedError]

PORTAL = b"<!DOCTYPE html>\n<html><head><title>Sign in to the network</title></head><body>...</body></html>\n"


@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(PORTAL, id="captive-portal"),
        pytest.param(b"<html>ok</html>", id="short-html"),
        pytest.param(b"OK", id="a-word"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xff\xfe\x00", id="bytes"),
        pytest.param(b"[]", id="a-list"),
        pytest.param(b"{}", id="an-empty-object"),
        pytest.param(b"null", id="null"),
        pytest.param(b'{"compute": {"vmSize": "Standard_NC6"}, "instance": "p5.48xlarge"}', id="other-keys"),
        pytest.param(b"[" * 50_000, id="nested-without-end"),
    ],
)
def test_a_server_that_answers_everything_alike_is_no_metadata_service(
    metadata: MetadataServer, source: Make, failure: FailureOf, cloud: str, body: bytes
) -> None:
    """A captive portal, a proxy, a default page: 200 is no proof of anything."""
    CLOUDS[cloud](metadata).says_everywhere(Reply(body, headers={"Content-Type": "text/html"}))

    assert failure(source(cloud)).reason == "not_recognized"


def test_the_message_names_the_service_and_not_what_it_said(
    metadata: MetadataServer, source: Make, failure: FailureOf
) -> None:
    """What a stranger sent is not repeated in the log."""
    azure(metadata).says_everywhere(Reply(json.dumps({**AZURE_COMPUTE, "vmSize": "\x1b[31mred"}).encode()))

    assert str(failure(source("azure"))) == (
        f"azure metadata at {metadata.address}: "
        "answers, but not as the metadata of azure does: not one short word"
    )


@pytest.mark.parametrize("value", ["google", "", None])
def test_gcp_without_its_echo_is_somebody_else(
    metadata: MetadataServer, source: Make, failure: FailureOf, value: str | None
) -> None:
    """Google's server, and no other, answers with the header that it was asked with."""
    gcp(metadata)
    del metadata.headers["Metadata-Flavor"]
    if value is not None:
        metadata.headers["Metadata-Flavor"] = value

    error = failure(source("gcp"))

    assert error.reason == "not_recognized"
    assert str(error).endswith("no header metadata-flavor: Google")


STRANGE_TYPES = [
    pytest.param("", id="empty"),
    pytest.param("unknown", id="a-word"),
    pytest.param("h100 x 8", id="spaces"),
    pytest.param("a.b\r\nc.d", id="lines"),
    pytest.param("p5.48xl\u200barge", id="zero-width"),
    pytest.param("p5.48xlarge\x07", id="control-character"),
    pytest.param("p5." + "x" * 62, id="65-characters"),
    pytest.param("x" * 60_000, id="over-long"),
    pytest.param("../../etc/passwd", id="a-path"),
    pytest.param(8, id="a-number"),
    pytest.param(["p5.48xlarge"], id="a-list"),
    pytest.param(None, id="null"),
]


@pytest.mark.parametrize("strange", STRANGE_TYPES)
def test_an_aws_type_that_is_none(
    metadata: MetadataServer, source: Make, failure: FailureOf, strange: object
) -> None:
    """The whole answer is refused."""
    aws(metadata).set_reply(AWS_DOCUMENT_PATH, json.dumps({**AWS_DOCUMENT, "instanceType": strange}))

    assert failure(source("aws")).reason == "not_recognized"


@pytest.mark.parametrize("strange", STRANGE_TYPES)
def test_an_azure_size_that_is_none(
    metadata: MetadataServer, source: Make, failure: FailureOf, strange: object
) -> None:
    """Also one without its prefix, which the service always tells."""
    for size in (strange, "ND96isr_H100_v5", "standard_ND96isr_H100_v5", "Standard_"):
        azure(metadata).set_reply(AZURE_PATH, json.dumps({**AZURE_COMPUTE, "vmSize": size}))

        assert failure(source("azure")).reason == "not_recognized"


@pytest.mark.parametrize("strange", STRANGE_TYPES)
def test_a_nebius_platform_that_is_none(
    metadata: MetadataServer, source: Make, failure: FailureOf, strange: object
) -> None:
    """And a preset that is none: both are needed."""
    for key in ("platform", "preset"):
        nebius(metadata).set_reply(NEBIUS_PATH, json.dumps({**NEBIUS_DATA, key: strange}))

        assert failure(source("nebius")).reason == "not_recognized"


@pytest.mark.parametrize(
    "strange", ["", "a3-highgpu-8g", "projects/1/zones/a3-highgpu-8g", "projects/1/machineTypes/", "x" * 200]
)
def test_a_gcp_machine_type_that_is_none(
    metadata: MetadataServer, source: Make, failure: FailureOf, strange: str
) -> None:
    """It is told by its whole path."""
    gcp(metadata).set_reply(GCP_PATHS[0], strange)

    assert failure(source("gcp")).reason == "not_recognized"


@pytest.mark.parametrize("strange", ["", "H100", "bm.gpu.h100.8", "BM", '""', "BM.GPU.H100.8 x", "{}"])
def test_an_oci_shape_that_is_none(
    metadata: MetadataServer, source: Make, failure: FailureOf, strange: str
) -> None:
    """Shapes begin with BM or VM."""
    oci(metadata).set_reply(OCI_PATHS[0], strange)

    assert failure(source("oci")).reason == "not_recognized"


@pytest.mark.parametrize("strange", ["us east 1", "us-east-1/", "<b>", "US", "a" * 65, "-"])
def test_a_region_that_is_none_costs_the_whole_answer(
    metadata: MetadataServer, source: Make, failure: FailureOf, strange: str
) -> None:
    """Whoever is wrong about the region is not believed about the type."""
    aws(metadata).set_reply(AWS_DOCUMENT_PATH, json.dumps({**AWS_DOCUMENT, "region": strange}))
    assert failure(source("aws")).reason == "not_recognized"

    oci(metadata).set_reply(OCI_PATHS[1], strange)
    assert failure(source("oci")).reason == "not_recognized"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 429, 500, 503, 204])
@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_service_that_refuses_is_not_asked_a_second_time(
    metadata: MetadataServer, source: Make, failure: FailureOf, cloud: str, status: int
) -> None:
    """401 of AWS without a token, 404 of OCI and of nothing, 410 and 429 of Azure: one attempt each."""
    CLOUDS[cloud](metadata).says_everywhere(Reply(b"no", status))

    error = failure(source(cloud))

    assert error.reason == "http_status"
    assert str(error).endswith(f"answers with HTTP status {status}")
    assert len(metadata.requests) == 1


def test_aws_without_a_token_is_never_asked_the_old_way(
    metadata: MetadataServer, source: Make, failure: FailureOf
) -> None:
    """The trap of `HttpTokens=required`: a GET without a token is a 401, and is not tried."""
    aws(metadata).set_reply(AWS_SESSION_PATH, "", status=403)

    assert failure(source("aws")).reason == "http_status"
    assert metadata.paths == [AWS_SESSION_PATH]


@pytest.mark.parametrize("token", ["", "a b", "<html>", "x" * 129, "a\r\nX-Injected: 1", "tok\u00e9n"])
def test_a_token_that_cannot_be_one_is_not_sent_on(
    metadata: MetadataServer, source: Make, failure: FailureOf, token: str
) -> None:
    """It would become a header."""
    aws(metadata).set_reply(AWS_SESSION_PATH, token)

    assert failure(source("aws")).reason == "not_recognized"
    assert metadata.paths == [AWS_SESSION_PATH]


def test_a_token_request_that_hangs_ends_with_the_time_for_all(
    metadata: MetadataServer, source: Make, failure: FailureOf
) -> None:
    """The trap of hop limit 1: in a bridged container the token never arrives, and nobody refuses."""
    aws(metadata).hangs.add(AWS_SESSION_PATH)

    assert failure(source("aws", timeout=0.5)).reason == "timeout"
    assert metadata.arrived.acquire(timeout=30)
    assert metadata.paths == [AWS_SESSION_PATH]


def test_a_question_that_hangs_costs_the_answer(
    metadata: MetadataServer, source: Make, failure: FailureOf
) -> None:
    """An optional one too: half of an answer is not made up to a whole."""
    aws(metadata).hangs.add(AWS_LIFECYCLE_PATH)

    assert failure(source("aws", timeout=0.5)).reason == "timeout"


@pytest.fixture
def full() -> Iterator[str]:
    """An address whose backlog is full: connections are neither taken nor refused, as on bare metal."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        waiting = []
        for _ in range(4):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(address)
            waiting.append(one)
        yield f"http://127.0.0.1:{address[1]}"
        for one in waiting:
            one.close()


def test_a_connection_that_is_never_taken_ends_in_time(full: str, source: Make, failure: FailureOf) -> None:
    """Link-local addresses on bare metal answer with nothing at all."""
    assert failure(source("gcp", address=full, timeout=0.2)).reason == "timeout"


def test_the_timeout_is_for_all_requests_together(
    metadata: MetadataServer, source: Make, failure: FailureOf
) -> None:
    """30 s for four questions of 12 s each: the third ends at 36 s, and the fourth is not asked."""
    clock = clock_at(0)

    def takes() -> None:
        clock.now += nanoseconds(12)

    gcp(metadata).before = takes
    error = failure(source("gcp", clock=clock, timeout=30.0))

    assert error.reason == "timeout"
    assert list(GCP_PATHS[:3]) == metadata.paths


def test_a_refused_connection_is_told(source: Make, failure: FailureOf) -> None:
    """A firewall that rejects."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    error = failure(source("azure", address=f"http://127.0.0.1:{port}"))

    assert error.reason == "connection"
    assert str(error).startswith(f"azure metadata at http://127.0.0.1:{port}: ")


@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(
    metadata: MetadataServer, source: Make, failure: FailureOf, cloud: str, status: int
) -> None:
    """A portal sends people to its own page; tokens and headers stay here."""
    other = {"Location": f"{metadata.address}/portal"}
    CLOUDS[cloud](metadata).says_everywhere(Reply(b"", status, other))

    assert failure(source(cloud)).reason == "redirect"
    assert len(metadata.requests) == 1


def test_a_body_is_bounded(metadata: MetadataServer, source: Make, failure: FailureOf) -> None:
    """64 KiB is read, and a byte more is too much."""
    body = json.dumps(AZURE_COMPUTE)
    azure(metadata).set_reply(AZURE_PATH, body + " " * (BODY_BYTES_MAX - len(body)))
    assert source("azure").read().instance_type == "Standard_ND96isr_H100_v5"

    metadata.set_reply(AZURE_PATH, body + " " * (BODY_BYTES_MAX - len(body) + 1))
    assert failure(source("azure")).reason == "too_large"


def test_a_body_that_claims_to_be_compressed_and_is_not_is_refused(
    metadata: MetadataServer, source: Make, failure: FailureOf
) -> None:
    """It was not asked for, and is read where a proxy did it all the same."""
    azure(metadata).set_reply(AZURE_PATH, b"\x1f\x8b...", Content_Encoding="gzip")

    assert failure(source("azure")).reason == "encoding"


@pytest.mark.parametrize("cloud", CLOUDS)
def test_no_proxy_is_asked(
    metadata: MetadataServer, source: Make, monkeypatch: pytest.MonkeyPatch, cloud: str
) -> None:
    """The trap of corporate proxies, which swallow 169.254.169.254 or answer for themselves."""
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.settimeout(0)
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        CLOUDS[cloud](metadata)

        assert cloud == source(cloud).read().cloud
        with pytest.raises(BlockingIOError):
            proxy.accept()


def test_no_credentials_of_the_user_are_sent(
    metadata: MetadataServer, source: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """A .netrc with a password for this address stays unread."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    azure(metadata)
    source("azure").read()

    assert ["authorization" in request.headers for request in metadata.requests] == [False]
