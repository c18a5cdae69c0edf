"""People who use a server while it is recorded. Says at the end what its answers told them, all in all.

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


def documents(said: str) -> list[Any]:
    """The answer, or the pieces of a stream."""
    lines = said.removeprefix("data:").split("\ndata:") if said.startswith("data:") else [said]
    return [json.loads(line) for line in lines if line.strip() != "[DONE]"]


def main(url: str, model: str) -> None:
    """Ask one after the other; the client that hangs up is not told what it had."""
    told = {"answers": 0, "prompt": 0, "cached": 0, "generated": 0, "cut at their longest length": 0}

    def body(text: str, longest: int, **more: Any) -> dict[str, Any]:
        return {
            "model": model,
            "messages": [{"role": "user", "content": text}],
            "max_tokens": longest,
            **more,
        }

    def ask(text: str, longest: int, **more: Any) -> None:
        connection = opened(url, body(text, longest, **more))
        answer = connection.getresponse()
        said = answer.read().decode()
        connection.close()
        if answer.status != http.client.OK:
            print("refused with", answer.status)  # noqa: T201 - a program for the terminal
            return
        pieces = documents(said)
        usage = next(piece["usage"] for piece in reversed(pieces) if piece.get("usage"))
        reasons = [choice.get("finish_reason") for piece in pieces for choice in piece.get("choices", ())]
        told["answers"] += 1
        told["prompt"] += usage["prompt_tokens"]
        told["cached"] += (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        told["generated"] += usage["completion_tokens"]
        told["cut at their longest length"] += "length" in reasons

    for number in range(4):
        ask(f"hello world {number}", 30 + number, ignore_eos=True)
        ask(f"{PREFIX}{number}", 20 + number, ignore_eos=True)
        ask(f"{PREFIX}{number} in a stream", 25 + number, ignore_eos=True, **STREAM)
        ask(f"until a letter {number}", 60, stop=["e", "a"], temperature=1.5)
    leaver = opened(url, body("hello world", 400, ignore_eos=True, **STREAM))
    leaver.getresponse().readline()  # it has begun
    leaver.close()
    ask("one", 1)
    ask("word " * 3000, 3)
    ask("less than nothing", -3)
    print(json.dumps(told))  # noqa: T201 - as above


if __name__ == "__main__":
    main(*sys.argv[1:])
