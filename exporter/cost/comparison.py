"""What the tokens of a tick would have cost at hosted offers. Pure, and no part of the money."""

from collections.abc import Iterable

from exporter.cost.postings import Equivalent, Party, Tokens
from exporter.readings import Kind
from exporter.tariff.hosted import HostedPrice, equivalent


def equivalents(tokens: Iterable[Tokens], offers: Iterable[HostedPrice]) -> tuple[Equivalent, ...]:
    """One entry for each party whose tokens are told and each offer that covers it, also of nothing.

    An upper bound of what a hosted bill would have been: the engine's own tokenizer, its own cache hits, and
    prompts that vLLM counts once for each of n answers.
    """
    by_party: dict[Party, dict[Kind, int]] = {}
    for told in tokens:
        counts = by_party.setdefault(told.party, {})
        counts[told.kind] = counts.get(told.kind, 0) + told.count
    return tuple(
        Equivalent(party, offer.reference, equivalent(offer, counts))
        for party, counts in by_party.items()
        for offer in offers
        if offer.covers(party.server, party.model)
    )
