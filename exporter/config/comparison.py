"""The keys of `compare`: hosted offers that the tokens served here are held against."""

from decimal import Decimal

from exporter.config.moments import Day
from exporter.config.schema import Block, Item, Key, ListOf, Table, Walk
from exporter.config.values import Label, Number, Pattern
from exporter.tariff.hosted import PRICE_DECIMALS, HostedPrice

PER_MILLION = Number("dollars per million tokens", Decimal(10_000), decimals=PRICE_DECIMALS)

REFERENCE = Key(
    "name",
    Label("name"),
    "The offer's name, like together-turbo: the label reference of the metrics.",
    required=True,
)
COMPARE_SERVER = Key("server", Pattern(), "The server's name.")
COMPARE_MODEL = Key("model", Pattern(), "The model's name, as the engine tells it.")
COMPARE_MATCH = Key(
    "match",
    Table(
        (COMPARE_SERVER, COMPARE_MODEL), lambda block: (block.get(COMPARE_SERVER), block.get(COMPARE_MODEL))
    ),
    "Whose tokens are compared with it; all patterns given must match. Without it: everybody's.",
)
PROMPT_PRICE = Key(
    "prompt_dollars_per_million_tokens",
    PER_MILLION,
    "What a million prompt tokens cost there.",
    required=True,
)
CACHED_PRICE = Key(
    "cached_prompt_dollars_per_million_tokens",
    PER_MILLION,
    "What a million prompt tokens from its cache cost there; without it, as any prompt tokens.",
)
GENERATION_PRICE = Key(
    "generation_dollars_per_million_tokens",
    PER_MILLION,
    "What a million generated tokens cost there.",
    required=True,
)
AS_OF = Key("as_of", Day(), "The date on which the price was read.")


def _hosted(block: Block) -> HostedPrice:
    server, model = block.get(COMPARE_MATCH) or (None, None)
    read = block.get(AS_OF)
    return HostedPrice(
        reference=block[REFERENCE],
        prompt=block[PROMPT_PRICE],
        generation=block[GENERATION_PRICE],
        cached_prompt=block.get(CACHED_PRICE),
        server=server,
        model=model,
        as_of="" if read is None else read.text,
    )


def _names_are_told_once(items: list[Item[HostedPrice]], walk: Walk) -> bool:
    """A name is one series with one price: two models at one provider are two offers."""
    good = True
    seen: dict[str, str] = {}
    for item in items:
        name = item.value.reference
        if name in seen:
            item.refuse(REFERENCE.name, f'"{name}" is already given by {seen[name]}; choose another', walk)
            good = False
        seen.setdefault(name, item.path)
    return good


COMPARE = Key(
    "compare",
    ListOf(
        Table(
            (REFERENCE, COMPARE_MATCH, PROMPT_PRICE, CACHED_PRICE, GENERATION_PRICE, AS_OF),
            _hosted,
            words="offer",
        ),
        (_names_are_told_once,),
    ),
    "Hosted offers to compare with: what the tokens served here would have cost there.",
)
