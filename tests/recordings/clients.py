"""People who use a server while it is recorded. Prints at the end the totals of its answers.

python tests/recordings/clients.py http://127.0.0.1:8000 tiny

Short prompts, prompts that share a prefix, streams, answers that end at a letter, one client that hangs up,
and two that are refused.
"""

import http.client
import json
import sys
from typing import Any
from urllib.parse import urlsplit

PREFIX = "the quick brown fox jumps over the lazy dog, hello world tokens cost money per gpu second. " * 6
STREAM = {"stream": True, "stream_options": {"include_usage": True}}
PATIENCE_SECONDS = 300


def opened(url: str, body: dict[str, Any]) -> http.client.HTTPConnection:
    """A connection on which a conversation was asked for."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE_SECONDS)
    headers = {"Content-Type": "application/json"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    return connection


def documents(body: str) -> list[Any]:
    """The answer, or the pieces of a stream."""
    lines = body.removeprefix("data:").split("\ndata:") if body.startswith("data:") else [body]
    return [json.loads(line) for line in lines if line.strip() != "[DONE]"]


def main(url: str, model: str) -> None:
    """Ask one after the other; the client that hangs up is not told what it had."""
    totals = {"answers": 0, "prompt": 0, "cached": 0, "generated": 0, "cut at their longest length": 0}

    def body(text: str, longest: int, **more: Any) -> dict[str, Any]:
        return {
            "model": model,
            "messages": [{"role": "user", "content": text}],
            "max_tokens": longest,
            **more,
        }

    def complete(text: str, longest: int, **more: Any) -> None:
        connection = opened(url, body(text, longest, **more))
        answer = connection.getresponse()
        answer_text = answer.read().decode()
        connection.close()
        if answer.status != http.client.OK:
            print("refused with", answer.status)  # noqa: T201 - a program for the terminal
            return
        pieces = documents(answer_text)
        usage = next(piece["usage"] for piece in reversed(pieces) if piece.get("usage"))
        reasons = [choice.get("finish_reason") for piece in pieces for choice in piece.get("choices", ())]
        totals["answers"] += 1
        totals["prompt"] += usage["prompt_tokens"]
        totals["cached"] += (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        totals["generated"] += usage["completion_tokens"]
        totals["cut at their longest length"] += "length" in reasons

    for number in range(4):
        complete(f"hello world {number}", 30 + number, ignore_eos=True)
        complete(f"{PREFIX}{number}", 20 + number, ignore_eos=True)
        complete(f"{PREFIX}{number} in a stream", 25 + number, ignore_eos=True, **STREAM)
        complete(f"until a letter {number}", 60, stop=["e", "a"], temperature=1.5)
    leaver = opened(url, body("hello world", 400, ignore_eos=True, **STREAM))
    leaver.getresponse().readline()  # it has begun
    leaver.close()
    complete("one", 1)
    complete("word " * 3000, 3)
    complete("less than nothing", -3)
    print(json.dumps(totals))  # noqa: T201 - as above


if __name__ == "__main__":
    main(*sys.argv[1:])
