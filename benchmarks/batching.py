"""A simulated engine that batches continuously: how long each phase truly took, and what its page would say.

An iteration takes a fixed time for launching it, the longer of reading the weights and computing its tokens
(a roofline: Williams, Waterman, Patterson 2009), and the reading of the keys and values of every request that
decodes; attention over a prompt is added to computing.

A prompt is computed in chunks: all requests that decode take one token each of an iteration's budget, prompts
take the rest (Agrawal et al. 2024, Sarathi-Serve; vLLM's scheduler). An engine that does not mix computes
waiting prompts in iterations of their own, before it goes on decoding (Yu et al. 2022, Orca; SGLang by
default, TGI, MLC).

Nothing of a real GPU was measured: figures say which way an estimate errs, and roughly how far.
"""

import heapq
import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Final

TICK: Final = 10.0
"""Seconds between two reads of the page."""

PARAMETERS: Final = 8.03e9
LAYERS: Final = 32
HIDDEN: Final = 4096
BYTES_PER_TOKEN: Final = 2 * LAYERS * 8 * 128 * 2
"""Llama 3.1 8B in BF16, from its model card and config.json: keys and values of 8 heads of 128 per layer."""

FLOPS: Final = 989.4e12 * 0.5
BANDWIDTH: Final = 3.35e12 * 0.7
ATTENTION: Final = 4 * LAYERS * HIDDEN / FLOPS
"""Seconds that one token of a prompt takes for each token that it attends to."""

MEMORY: Final = 80e9 * 0.9 - 2 * PARAMETERS
"""H100 SXM, from its data sheet (dense BF16), at half of its arithmetic and seven tenths of its bandwidth.

Memory is vLLM's default share (0.9), less the weights.
"""

LAUNCH: Final = 1e-3
"""Seconds of an iteration in which the GPU waits for its next work."""

BUDGET: Final = 2048
MOST_RUNNING: Final = 256
"""Tokens of an iteration, and requests at once: defaults of vLLM's server before it knew the GPU's size."""

LONGEST: Final = 32768


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests a second on average over the hour, and the mean lengths of prompt and answer in tokens."""

    name: str
    requests_per_second: float
    prompt: int
    generation: int


@dataclass(slots=True)
class Request:
    """One request on its way."""

    prompt: int
    generation: int
    left: int
    scheduled: float = 0.0
    first_token: float = 0.0


@dataclass(slots=True)
class Tick:
    """One tick: what the page's counters moved by, what its gauge says at the end, and what is true.

    `prefill` and `decode` are the engine's own GPU seconds, an iteration with any prompt token in it being
    prefill; `request_prefill` and `request_decode` those of the requests that finished.
    `busy` are all GPU seconds. Of these `truly_prefill` went to prompt tokens: of what an iteration takes for
    all its tokens alike their part of the tokens, and all of the attention over prompts.
    `added_by_prefill` is by how much prompts made iterations longer.
    """

    prompt: int = 0
    generation: int = 0
    prefill: float = 0.0
    decode: float = 0.0
    request_prefill: float = 0.0
    request_decode: float = 0.0
    running: int = 0
    busy: float = 0.0
    truly_prefill: float = 0.0
    added_by_prefill: float = 0.0


def request_arrivals(workload: Workload, until: float, random: Random) -> Iterator[tuple[float, Request]]:
    """Requests and when they come: at random, at a rate that swings by half about its mean once an hour.

    Lengths are log-normal (sigma 0.8).
    """
    now = 0.0
    while True:
        now += random.expovariate(1.5 * workload.requests_per_second)
        if now >= until:
            return
        if random.random() * 1.5 < 1 + 0.5 * math.sin(2 * math.pi * now / 3600):
            prompt = _length(workload.prompt, random)
            yield now, Request(prompt, _length(workload.generation, random), prompt)


def _length(mean: int, random: Random) -> int:
    return min(LONGEST, max(1, round(random.lognormvariate(math.log(mean) - 0.32, 0.8))))


def iteration(tokens: int) -> float:
    """Seconds that an iteration takes for so many tokens, attention apart."""
    return LAUNCH + max(2 * PARAMETERS / BANDWIDTH, 2 * PARAMETERS * tokens / FLOPS)


@dataclass(slots=True)
class Engine:
    """One engine on one GPU. `mixes`: prompts are computed in the iterations in which others decode."""

    mixes: bool
    now: float = 0.0
    steps: int = 0
    waiting: deque[Request] = field(default_factory=deque)
    prefilling: deque[Request] = field(default_factory=deque)
    decoding: list[tuple[int, int, Request]] = field(default_factory=list)
    resident_tokens: int = 0
    offset: int = 0
    serial: int = 0
    moved: Tick = field(default_factory=Tick)

    @property
    def running(self) -> int:
        """Requests that were admitted and have not ended."""
        return len(self.prefilling) + len(self.decoding)

    def run(self, workload: Workload, until: float, seed: int) -> Iterator[Tick]:
        """Serve a workload and yield each tick."""
        coming = request_arrivals(workload, until, Random(seed))  # noqa: S311  # nothing is secret here
        following = next(coming, None)
        for tick in range(1, round(until / TICK) + 1):
            end = tick * TICK
            while self.now < end:
                while following is not None and following[0] <= self.now:
                    self.waiting.append(following[1])
                    following = next(coming, None)
                stop = end if following is None else min(end, following[0])
                self._admit()
                if self.running:
                    self._advance(stop)
                else:
                    self.now = stop
            self.moved.running = self.running
            yield self.moved
            self.moved = Tick()

    def _admit(self) -> None:
        """First come, first served, where there is room for the whole answer: nothing is ever preempted."""
        while self.waiting and self.running < MOST_RUNNING:
            request = self.waiting[0]
            if (
                self.resident_tokens
                and (self.resident_tokens + request.prompt + request.generation) * BYTES_PER_TOKEN > MEMORY
            ):
                return
            self.resident_tokens += request.prompt + request.generation
            self.prefilling.append(self.waiting.popleft())

    def _advance(self, stop: float) -> None:
        if not self.prefilling:
            self._decode(stop)
            return
        decoding = len(self.decoding) if self.mixes else 0
        room, computed, attended = BUDGET - decoding, 0, 0.0
        ended: list[Request] = []
        for request in self.prefilling:
            if room <= 0:
                break
            if request.left == request.prompt:
                request.scheduled = self.now
            chunk = min(room, request.left)
            before = request.prompt - request.left
            attended += chunk * (before + chunk / 2)
            request.left -= chunk
            computed += chunk
            room -= chunk
            if not request.left:
                ended.append(request)
        read = self._read() if decoding else 0
        attention = attended * ATTENTION
        shared = iteration(decoding + computed)
        took = shared + attention + read * BYTES_PER_TOKEN / BANDWIDTH
        self.now += took
        self.moved.busy += took
        self.moved.truly_prefill += shared * computed / (decoding + computed) + attention
        self.moved.added_by_prefill += shared + attention - (iteration(decoding) if decoding else 0.0)
        self.moved.prefill += took
        if decoding:
            self.steps += 1
            self.moved.generation += decoding
            self._finish()
        for request in ended:
            self.prefilling.popleft()
            request.first_token = self.now
            self.moved.prompt += request.prompt
            self.moved.generation += 1
            self._begin(request)

    def _decode(self, stop: float) -> None:
        """Decode alone, as many steps at once as nothing comes in between."""
        decoding, read = len(self.decoding), self._read()
        most = self.decoding[0][0] - self.steps
        shared, per_token = iteration(decoding), BYTES_PER_TOKEN / BANDWIDTH
        longest = shared + (read + decoding * most) * per_token
        steps = min(most, max(1, math.floor((stop - self.now) / longest)))
        took = steps * (shared + read * per_token) + decoding * steps * (steps - 1) / 2 * per_token
        self.now += took
        self.steps += steps
        self.moved.busy += took
        self.moved.decode += took
        self.moved.generation += decoding * steps
        self._finish()

    def _read(self) -> int:
        return self.offset + len(self.decoding) * self.steps

    def _begin(self, request: Request) -> None:
        """Decode what is left of an answer, whose first token came with its prompt's last."""
        self.serial += 1
        if request.generation == 1:
            self._end(request)
            return
        self.offset += request.prompt - self.steps
        heapq.heappush(self.decoding, (self.steps + request.generation - 1, self.serial, request))

    def _finish(self) -> None:
        while self.decoding and self.decoding[0][0] == self.steps:
            last, _serial, request = heapq.heappop(self.decoding)
            self.offset -= request.prompt - (last - request.generation + 1)
            self._end(request)

    def _end(self, request: Request) -> None:
        self.resident_tokens -= request.prompt + request.generation
        self.moved.request_prefill += request.first_token - request.scheduled
        self.moved.request_decode += self.now - request.first_token
