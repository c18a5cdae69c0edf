"""A real inference server on loopback, whichever it is, and people who use it. Its model is named `tiny`."""

import http.client
import json
import os
import socket
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.e2e.daemon import Page, free_port, get, until

PREFIX = "the quick brown fox jumps over the lazy dog, hello world tokens cost money per gpu second. " * 6
"""Long enough that a prompt which begins with it again is mostly cached."""


class EngineServer(ABC):
    """One server, started anew with its counters at zero."""

    start_seconds: float = 90
    extra: Mapping[str, Any] = {}
    """What a request must say beside the usual."""
    longest: int = 900
    """Tokens that whoever hangs up had asked for."""
    host: str = "127.0.0.1"
    """Where it is asked."""

    def __init__(self, log: Path) -> None:
        self.port = free_port()
        self.url = f"http://{self.host}:{self.port}/metrics"
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """How to start it on `self.port`."""

    @abstractmethod
    def count(self, page: Page) -> dict[str, int]:
        """Tokens by kind as the server itself counts them; cached prompts apart."""

    @abstractmethod
    def running(self, page: Page) -> float:
        """Requests in progress."""

    def environment(self) -> dict[str, str]:
        """What it needs in its environment."""
        return {}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Start, and wait until it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                env={**os.environ, **self.environment()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            until(self._healthy, self.start_seconds, f"{type(self).__name__} healthy, see {self.log}")
        except BaseException:  # an interrupt, too: nobody else ends it
            self.kill()
            raise

    def restart(self) -> None:
        """Another process at the same address, its counters at zero."""
        self.kill()
        self.start()

    def kill(self) -> None:
        """End the process and those that it started: its session is its own."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, 9)
            self.process.wait(10)
            self.process = None

    def _healthy(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text(encoding="utf-8", errors="replace")[-4000:]
        try:
            return get(self.port, "/health", host=self.host)[0] == http.client.OK
        except OSError:
            return False

    def page(self) -> Page:
        """What it says to whoever scrapes it."""
        status, body = get(self.port, "/metrics", host=self.host)
        assert status == http.client.OK
        return Page(body, 0)

    def at_rest(self) -> dict[str, int]:
        """The counters once nothing runs and nothing moves: a cancelled request is counted late."""
        last: dict[str, int] = {}

        def settled_counts() -> dict[str, int] | None:
            nonlocal last
            before, page = last, self.page()
            last = self.count(page)
            return last if self.running(page) == 0 and last == before else None

        return until(settled_counts, 30, "a server at rest", pause=0.5)

    def complete(self, prompt: str, tokens: int) -> dict[str, Any]:
        """One completion of exactly so many tokens; the server's answer."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        body = {**self._request(prompt, tokens)}
        try:
            connection.request(
                "POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"}
            )
            answer = connection.getresponse()
            text = answer.read()
            assert answer.status == http.client.OK, text
            completion: dict[str, Any] = json.loads(text)
            return completion
        finally:
            connection.close()

    def hang_up(self, prompt: str) -> None:
        """Ask for a long stream, and go away once it has begun."""
        body = json.dumps({**self._request(prompt, self.longest), "stream": True}).encode()
        head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        with socket.create_connection((self.host, self.port), timeout=30) as connection:
            connection.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
            received = b""
            while b"data:" not in received:
                chunk = connection.recv(4096)
                assert chunk, received
                received += chunk

    def _request(self, prompt: str, tokens: int) -> dict[str, Any]:
        return {"model": "tiny", "prompt": prompt, "max_tokens": tokens, "ignore_eos": True, **self.extra}

    def serve_people(self) -> None:
        """Over a thousand tokens of each kind: a shared prefix, prompts of their own, one that hangs up."""
        for number in range(10):
            completion = self.complete(f"{PREFIX} person {number}", 120)
            assert completion["usage"]["completion_tokens"] == 120
        for number in range(8):
            self.complete(f"{number}{number} {PREFIX}", 10)
        self.hang_up("hello world")
