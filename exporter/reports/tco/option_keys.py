"""The keys of an option: owned, rented, hosted or hybrid."""

from decimal import Decimal
from fractions import Fraction
from typing import Final

from exporter.config.rules import exactly_one
from exporter.config.schema import Block, Item, Key, ListOf, Rule, Table, Walk
from exporter.config.values import DOLLAR_DECIMALS, Name, Number
from exporter.reports.tco.host_keys import ENERGY, OWNED, RENTED
from exporter.reports.tco.scenario import MEASURED, Hosted, Hybrid, Option
from exporter.reports.tco.source_keys import AS_OF, CHANGE, SOURCE, source_of

PER_MILLION: Final = Number("dollars per million tokens", Decimal(100_000), decimals=DOLLAR_DECIMALS)
PROMPT_PRICE = Key(
    "prompt_dollars_per_million_tokens", PER_MILLION, "What a million prompt tokens cost.", required=True
)
CACHED_PROMPT_PRICE = Key(
    "cached_prompt_dollars_per_million_tokens",
    PER_MILLION,
    "What a million prompt tokens from a cache cost; as other prompt tokens unless given.",
)
GENERATION_PRICE = Key(
    "generation_dollars_per_million_tokens",
    PER_MILLION,
    "What a million generated tokens cost.",
    required=True,
)


def _hosted(block: Block) -> Hosted:
    cached = block.get(CACHED_PROMPT_PRICE)
    return Hosted(
        {
            "prompt": Fraction(block[PROMPT_PRICE]),
            "cached_prompt": Fraction(block[PROMPT_PRICE] if cached is None else cached),
            "generation": Fraction(block[GENERATION_PRICE]),
        }
    )


HOSTED = Key(
    "hosted",
    Table((PROMPT_PRICE, CACHED_PROMPT_PRICE, GENERATION_PRICE), _hosted),
    "Tokens that are bought by the million.",
)

OPTION_NAME: Final = Name("option name", reserved=(MEASURED,))
BASE = Key("base", OPTION_NAME, "The owned or rented option that serves the base load.", required=True)
REST = Key("rest", OPTION_NAME, "The hosted option that serves the rest.", required=True)
BASE_RATIO = Key("base_ratio", Number("ratio", Decimal(1)), "The part of the load that the base serves.")
BASE_TOKENS = Key(
    "base_tokens_per_day",
    Number("tokens per day", Decimal(10**15)),
    "The tokens of the load that the base serves; all of it while the load is less.",
)


def _hybrid(block: Block) -> Hybrid:
    ratio, tokens = block.get(BASE_RATIO), block.get(BASE_TOKENS)
    return Hybrid(
        base=block[BASE],
        rest=block[REST],
        base_ratio=None if ratio is None else Fraction(ratio),
        base_tokens_per_day=None if tokens is None else Fraction(tokens),
    )


HYBRID = Key(
    "hybrid",
    Table((BASE, REST, BASE_RATIO, BASE_TOKENS), _hybrid, (exactly_one(BASE_RATIO, BASE_TOKENS),)),
    "Two other options together; a hybrid pays the items of both, each once.",
)

NAME = Key("name", OPTION_NAME, "The option's name.", required=True)
RATIO: Final = Number("ratio", Decimal(1000), above_low=True)
PROMPT_RATIO = Key(
    "prompt_tokens_ratio",
    RATIO,
    "Prompt tokens that this way needs for one of the load: 5 where retrieval makes prompts five times as "
    "long.",
    default="1",
)
GENERATION_RATIO = Key(
    "generation_tokens_ratio",
    RATIO,
    "Generated tokens that this way needs for one of the load.",
    default="1",
)
KINDS: Final = (OWNED, RENTED, HOSTED, HYBRID)


def _energy_has_hosts(block: Block) -> bool:
    if ENERGY not in block or OWNED in block or RENTED in block:
        return True
    block.refuse(ENERGY, "goes with owned or rented only; remove it")
    return False


def _hybrids_take_all_from_their_parts(block: Block) -> bool:
    good = True
    for key in (PROMPT_RATIO, GENERATION_RATIO, CHANGE):
        if HYBRID in block and key in block:
            block.refuse(key, "is taken from the hybrid's parts; remove it here")
            good = False
    return good


def _option(block: Block) -> Option:
    terms = block.get(OWNED) or block.get(RENTED) or block.get(HOSTED) or block[HYBRID]
    return Option(
        name=block[NAME],
        terms=terms,
        power=block.get(ENERGY),
        prompt_ratio=Fraction(block[PROMPT_RATIO]),
        generation_ratio=Fraction(block[GENERATION_RATIO]),
        change_ratio_per_year=Fraction(block[CHANGE]),
        source=source_of(block),
    )


def _names_are_told_once(items: list[Item[Option]], walk: Walk) -> bool:
    good = True
    seen: dict[str, str] = {}
    for item in items:
        if item.value.name in seen:
            message = f'"{item.value.name}" is already given by {seen[item.value.name]}; choose another name'
            item.refuse(NAME.name, message, walk)
            good = False
        seen.setdefault(item.value.name, item.path)
    return good


MOST_OPTIONS: Final = 8


def _are_few(items: list[Item[Option]], walk: Walk) -> bool:
    if len(items) <= MOST_OPTIONS:
        return True
    items[MOST_OPTIONS].refuse(NAME.name, f"is more than {MOST_OPTIONS} options; compare fewer", walk)
    return False


OPTION_RULES: Final[tuple[Rule, ...]] = (
    exactly_one(*KINDS),
    _energy_has_hosts,
    _hybrids_take_all_from_their_parts,
)
OPTIONS = Key(
    "options",
    ListOf(
        Table(
            (NAME, *KINDS, ENERGY, PROMPT_RATIO, GENERATION_RATIO, CHANGE, SOURCE, AS_OF),
            _option,
            OPTION_RULES,
            words="option",
        ),
        (_names_are_told_once, _are_few),
        least=1,
    ),
    "What is compared.",
    required=True,
)
