"""HTTP over TLS, by httpx. Imported only where an endpoint is https."""

import ssl
from collections.abc import Callable
from contextlib import suppress
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Any, Final

import httpx

from exporter.readings import FailureReason, Peer, ReadFailedError
from exporter.sources.http_client import (
    CertificateError,
    Deadline,
    HttpRequest,
    HttpResponse,
    peer_of,
    read_response,
)

CONNECTIONS_MAX: Final = 16
"""Connections at a time of one client."""

CA_BYTES_MAX: Final = 1 << 20
"""Largest file of certificate authorities."""

NO_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"})
"""Errors of OpenSSL, in one version or another, for an answer that is no TLS."""

OF_ANOTHER: Final = frozenset({62, 64})
"""`X509_V_ERR_HOSTNAME_MISMATCH` and `X509_V_ERR_IP_ADDRESS_MISMATCH` (openssl/x509_vfy.h)."""

CONNECTED: Final = ("connection.connect_tcp.complete", "connection.start_tls.complete")
"""Events of httpcore's `trace` extension that hand out a fresh network stream."""


class HttpsClient:
    """Sends requests by a client of httpx."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def request(self, request: HttpRequest, deadline: Deadline, limit: int) -> HttpResponse:
        """As `HttpClientProtocol.request`."""
        subject, headers, request = request.subject, request.headers, request.judged()
        extensions: dict[str, Any] = {"trace": _watch(request, deadline)}
        if request.server_name:  # some servers refuse a request whose Host is another name (RFC 9110, 421)
            extensions["sni_hostname"] = request.server_name
            port = httpx.URL(request.url).port
            name = f"[{request.server_name}]" if ":" in request.server_name else request.server_name
            headers = {**headers, "Host": name if port is None else f"{name}:{port}"}
        try:
            with self._client.stream(
                request.method,
                request.url,
                headers=headers,
                timeout=deadline.left(),
                follow_redirects=False,
                extensions=extensions,
            ) as stream:
                response = HttpResponse(stream.status_code, b"", dict(stream.headers), _peer(stream))
                return read_response(
                    request, response, pieces=stream.iter_raw(), deadline=deadline, limit=limit
                )
        except httpx.TimeoutException as failure:
            raise ReadFailedError(FailureReason.TIMEOUT, f"{subject}: {type(failure).__name__}") from failure
        # OSError: while it is closed; UnicodeError: a header that is not ASCII.
        except (httpx.RequestError, httpx.InvalidURL, OSError, UnicodeError) as failure:
            error = _of_tls(failure)
            if error is not None and error.reason in NO_TLS:
                raise ReadFailedError(
                    FailureReason.TLS, f"{subject}: it does not speak TLS: try http://"
                ) from failure
            if isinstance(error, ssl.SSLCertVerificationError):
                of_another = error.verify_code in OF_ANOTHER
                raise CertificateError(
                    f"{subject}: {error.verify_message}", of_another=of_another
                ) from failure
            reason = FailureReason.TLS if error else FailureReason.CONNECTION
            raise ReadFailedError(reason, f"{subject}: {failure}") from failure

    def close(self) -> None:
        """Close open connections; one that the system cannot close is dropped all the same."""
        with suppress(OSError):
            self._client.close()


def trusting(ca_file: Path | None) -> HttpsClient:
    """A client that trusts the authorities of `ca_file`, else the public ones.

    Raises:
        ReadFailedError: `tls`, the file cannot be used.
    """
    if ca_file is None:
        return _client(httpx.create_ssl_context(trust_env=False))
    try:
        with ca_file.open("rb") as file:
            pem = file.read(CA_BYTES_MAX + 1)
        if len(pem) > CA_BYTES_MAX:
            raise ReadFailedError(FailureReason.TLS, f"{ca_file}: larger than {CA_BYTES_MAX} bytes")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=pem.decode("ascii"))
    except (OSError, ValueError) as failure:  # ssl.SSLError is an OSError
        raise ReadFailedError(FailureReason.TLS, f"{ca_file}: {failure}") from failure
    return _client(context)


def unverified() -> HttpsClient:
    """A client that takes any certificate: only for an address of this host."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return _client(context)


def _client(context: ssl.SSLContext) -> HttpsClient:
    return HttpsClient(
        httpx.Client(
            verify=context,
            trust_env=False,
            follow_redirects=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),  # what a server sets is not kept
            limits=httpx.Limits(max_connections=CONNECTIONS_MAX, max_keepalive_connections=0),
        )
    )


def _peer(response: httpx.Response) -> Peer | None:
    """Where a response is from; `None` without a network, or where the server has closed the connection."""
    stream = response.extensions.get("network_stream")
    if stream is None:
        return None
    try:
        return peer_of(stream.get_extra_info("server_addr"), stream.get_extra_info("client_addr"))
    except OSError:
        return None


def _of_tls(failure: BaseException) -> ssl.SSLError | None:
    """The error of TLS or certificates behind a failure, if any."""
    cause: BaseException | None = failure
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return cause
        cause = cause.__cause__ or cause.__context__
    return None


def _watch(request: HttpRequest, deadline: Deadline) -> Callable[[str, dict[str, Any]], None]:
    """A trace that checks who is at the other end of a new connection, and bounds each receive of it.

    httpx bounds single receives only, so that a server which sends a byte now and then, in its headers
    say, would hold a reader for hours.
    """

    def trace(event: str, info: dict[str, Any]) -> None:
        if event in CONNECTED:
            stream = info["return_value"]
            if event == CONNECTED[0]:
                try:
                    request.check(stream.get_extra_info("socket"))
                except ReadFailedError:
                    stream.close()
                    raise
            receive = stream.read
            stream.read = lambda max_bytes, timeout=None: receive(  # noqa: ARG005 - the stream's signature
                max_bytes, timeout=deadline.left()
            )

    return trace
