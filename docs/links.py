"""Request every address on the pages, and report the broken ones: `python docs/links.py [PAGE ...]`.

This needs a network, so CI does not run it. A test without a network checks that addresses are well
formed. Fragments after a `#` are not checked: many sites create them in the browser.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[1]
SECONDS = 20
AT_ONCE = 8

CODE = re.compile(r"^( *)```.*?^\1```$|<!--.*?-->|`[^`\n]+`", re.DOTALL | re.MULTILINE)
ADDRESS = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s<>\"'|)\]]+", re.IGNORECASE)

GUARDED = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS}
"""What sites answer to programs that are no browser; it says nothing about the page."""

MOVED = {HTTPStatus.MOVED_PERMANENTLY, HTTPStatus.PERMANENT_REDIRECT}


def pages() -> list[Path]:
    """Those at the root and below `docs`."""
    return sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md"))


def addresses(text: str) -> list[str]:
    """The addresses in a page's prose, each once; what stands in code is not meant to be followed."""
    found = ADDRESS.findall(CODE.sub("", text))
    return list(dict.fromkeys(address.rstrip(".,;:!?") for address in found))


def answer(client: httpx.Client, address: str) -> tuple[bool, str]:
    """Whether an address may stand, and what is to be said of it, if anything."""
    try:
        with client.stream("GET", address.partition("#")[0]) as response:
            status = response.status_code
            moved = [step.headers["location"] for step in response.history if step.status_code in MOVED]
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return False, str(error) or type(error).__name__
    if status in GUARDED:
        return True, f"HTTP status {status}: look yourself"
    if status >= HTTPStatus.BAD_REQUEST:
        return False, f"HTTP status {status}"
    return True, f"moved for good to {moved[-1]}" if moved else ""


def findings(checked: Sequence[Path], client: httpx.Client) -> Iterator[tuple[bool, str]]:
    """Notes and errors about addresses: whether it is only a note, and its line."""
    where: dict[str, list[str]] = {}
    for page in checked:
        name = page.relative_to(ROOT).as_posix() if page.is_relative_to(ROOT) else page.name
        for address in addresses(page.read_text(encoding="utf-8")):
            where.setdefault(address, []).append(name)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for address, (fine, said) in zip(where, pool.map(partial(answer, client), where), strict=True):
            if said:
                yield fine, f"{', '.join(where[address])}: {address}: {said}"


def main(words: Sequence[str]) -> int:
    """Exit status: 0, or 1 for a broken address."""
    headers = {"User-Agent": "inference-cost-exporter docs"}
    with httpx.Client(follow_redirects=True, timeout=SECONDS, headers=headers) as client:
        lines = list(findings([Path(word).resolve() for word in words] or pages(), client))
    for fine, line in lines:
        print(f"{'note' if fine else 'wrong'}: {line}")
    wrong = sum(not fine for fine, _ in lines)
    print(f"{wrong} wrong")
    return min(1, wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
