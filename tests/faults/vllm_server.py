"""A server that says what vLLM says, and all that it may say instead."""

import gzip
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import httpx

MODEL: Final = "meta-llama/Llama-3.1-8B-Instruct"
PIECE: Final = 1 << 16
BOMB: Final = gzip.compress(bytes(64 << 20), 9)
HUGE: Final = b"# HELP a_metric " + b"x" * (9 << 20)
KINDS: Final = ("prompt", "cached_prompt", "generation")
_PROMPT: Final = 'vllm:prompt_tokens_by_source_total{engine="0",model_name="%s",source="'
COUNTERS: Final = {
    "prompt": _PROMPT + 'local_compute"}',
    "cached_prompt": _PROMPT + 'local_cache_hit"}',
    "generation": 'vllm:generation_tokens_total{engine="0",model_name="%s"}',
    "requests": 'vllm:request_success_total{engine="0",model_name="%s",finished_reason="stop"}',
}


class DescriptorsExhaustedError(OSError):
    """What the kernel says to a process that has too many files open."""

    def __init__(self) -> None:
        super().__init__(24, "Too many open files")


@dataclass
class VllmServer:
    """One process after another at one address. `counted` is what the present one has counted."""

    number: int
    started: int = 1_795_000_000
    running: int = 1
    counted: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTERS, 0))
    state: str = "well"

    def serve(self, step: int) -> None:
        """Serve some requests: other numbers each time, and each kind its own."""
        for index, quantity in enumerate(COUNTERS):
            self.counted[quantity] += (step * (index + 3) * 7919 + self.number * 104_729) % 5_000

    def restart(self, now: int) -> None:
        """Another process, which has counted nothing: of this second, and never as old as the one before."""
        self.started = max(self.started + 1, now)
        self.counted = dict.fromkeys(COUNTERS, 0)

    def page(self) -> str:
        """What it says when it is well."""
        lines = [f"{series % MODEL} {self.counted[quantity]}.0" for quantity, series in COUNTERS.items()]
        total = self.counted["prompt"] + self.counted["cached_prompt"]
        lines += [
            f'vllm:prompt_tokens_total{{engine="0",model_name="{MODEL}"}} {total}.0',
            f'vllm:num_requests_running{{engine="0",model_name="{MODEL}"}} {self.running}.0',
            f'vllm:num_requests_waiting{{engine="0",model_name="{MODEL}"}} 0.0',
            f"process_start_time_seconds {self.started}.25",
        ]
        return "".join(f"{line}\n" for line in lines)

    def answer(self, request: httpx.Request) -> httpx.Response:
        """What a request gets.

        Raises:
            httpx.ConnectError: nobody listens, or no socket is to be had.
            httpx.TimeoutException: nothing comes in time.
        """
        match self.state:
            case "killed":
                raise httpx.ConnectError("Connection refused", request=request)
            case "out of descriptors":
                raise httpx.ConnectError("[Errno 24] Too many open files", request=request) from (
                    DescriptorsExhaustedError()
                )
            case "connecting":
                raise httpx.ConnectTimeout("timed out", request=request)
            case "reading":
                raise httpx.ReadTimeout("timed out", request=request)
        if request.url.path != "/metrics":
            return response(404)
        return self._lie() if self.state != "well" else response(200, self.page())

    def cut(self) -> str:
        """The first half of the page, in whole lines."""
        page = self.page()
        return page[: page.index("\n", len(page) // 2) + 1]

    def _lie(self) -> httpx.Response:
        page = self.page()
        match self.state:
            case "500":
                return response(500, page)
            case "redirect":
                return response(302, "", {"Location": "http://192.0.2.1/metrics"})
            case "html":
                return response(200, "<!doctype html><title>Sign in</title>")
            case "empty":
                return response(200)
            case "cut":
                return response(200, self.cut())
            case "huge":
                return response(200, HUGE)
            case "gzip bomb":
                return response(200, BOMB, {"Content-Encoding": "gzip"})
            case "twice":
                return response(200, page + page)
            case "noise":
                return response(200, page.encode() + bytes(range(256)) * 8)
        value = {"not a number": "NaN", "infinite": "+Inf", "negative": "-5", "too large to count": "1e300"}
        lines = [line.rpartition(" ")[0] for line in page.splitlines() if "_total" in line]
        return response(200, "".join(f"{line} {value[self.state]}\n" for line in lines))


def response(
    status: int, body: bytes | str = b"", headers: Mapping[str, str] | None = None
) -> httpx.Response:
    """An answer whose body has yet to be read."""
    whole = body.encode() if isinstance(body, str) else body
    pieces = [whole[first : first + PIECE] for first in range(0, len(whole), PIECE)]
    return httpx.Response(status, headers=headers, stream=Pieces(pieces))


class Pieces(httpx.SyncByteStream):
    """A body as the network brings it."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._pieces)
