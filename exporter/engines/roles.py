"""Roles of a disaggregated pair: what a server was started as, held against its page. Pure.

Each token of a pair is on two pages. A prefill server computes the prompt and generates one token, which the
decode server counts again. That one takes the prompt's KV cache from there, and counts the prompt again.
"""

from collections.abc import Iterable
from typing import Final

from exporter.engines.exposition import Page
from exporter.engines.interpretation import Interpretation, samples_of
from exporter.engines.spec import Engine
from exporter.readings import Role, RoleClaim

GENERATED_PER_REQUEST: Final = 1.5
"""Most tokens per request that a prefill server generates: one, and those of requests that were stopped."""

GENERATED_BEFORE: Final = 2
"""Tokens of requests that are not counted yet."""


def agreed_role(
    claims: Iterable[RoleClaim], engine: Engine, page: Page, interpretation: Interpretation
) -> tuple[Role, str]:
    """The role that all claims and the page agree on, and why there is none, as a clause.

    The figures are those since the process began.
    """
    transferred = transferred_tokens(engine, page)
    roles = dict.fromkeys(claims)
    if interpretation.role:
        roles[RoleClaim(interpretation.role, "its page")] = None
    if len({claim.role for claim in roles}) > 1:
        return "", " and ".join(f"{claim.source} says {claim.role}" for claim in roles)
    if not roles:
        doubt = "nothing says whether it prefills or decodes, and {:.0f} prompt tokens are from other engines"
        return "", doubt.format(transferred) if transferred else ""
    claim = next(iter(roles))
    sums: dict[str, float] = {}
    for counter in interpretation.counters:
        sums[counter.quantity] = sums.get(counter.quantity, 0.0) + counter.sign * counter.value
    requests, generated = sums.get("requests"), sums.get("generation", 0.0)
    if claim.role == "prefill" and requests is not None:
        running = sum(load.running or 0.0 for load in interpretation.loads)
        if generated > GENERATED_PER_REQUEST * (requests + running) + GENERATED_BEFORE:
            figures = f"{generated:.0f} generated tokens for {requests:.0f} requests"
            return "", f"{claim.source} says prefill, and its page has {figures}"
    computed = sums.get("prompt", 0.0)
    if claim.role == "decode" and transferred is not None and computed > transferred:
        figures = f"{computed:.0f} computed prompt tokens and {transferred:.0f} from other engines"
        return "", f"{claim.source} says decode, and its page has {figures}"
    return claim.role, ""


def transferred_tokens(engine: Engine, page: Page) -> float | None:
    """Prompt tokens whose KV cache another engine filled; `None` where the page does not count them."""
    for count in engine.prompts_from_other_engines:
        if count.name in page.names:
            return sum(sample.value for sample in samples_of(engine, page, count))
    return None
