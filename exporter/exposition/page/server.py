"""The explanation of a server: the numbers and the words of the verb `explain`, as tables."""

from collections.abc import Iterator

from exporter.cost.chain import Chain, Explanation, ModelChain
from exporter.cost.postings import PHASES
from exporter.exposition import chains
from exporter.exposition.page.element import Content, Element, element
from exporter.exposition.page.layout import name, table
from exporter.exposition.wording import server_name, share, six, timestamp
from exporter.readings import KINDS
from exporter.report import Course
from exporter.units import NANOSECONDS_PER_HOUR, TOKENS_PER_MILLION, dollars


def servers(explanation: Explanation, course: Course) -> Iterator[Content]:
    """What stands in `main`."""
    stretch = explanation.stretch
    hours = stretch.covered / NANOSECONDS_PER_HOUR
    yield element(
        "p",
        f"Over the 60 minutes from {timestamp(stretch.start)} to {timestamp(stretch.end)}, "
        f"{hours:.2f} hours of them metered. On the host, ",
        element("code", "inference-cost-exporter explain --window=24h"),
        " asks for longer ones.",
    )
    for chain in explanation.chains:
        yield _held(chain)
        yield element(
            "section",
            element("h2", "Its models"),
            (part for model in chain.models for part in _model(chain, model)),
            None if chain.models else element("p", "Nothing was posted to it in this time."),
            id="models",
        )
        yield _day(chain, course)
    if explanation.fleet_dollars_per_hour:
        fleet = f"{six(explanation.fleet_dollars_per_hour)} dollars per hour"
        yield element("p", f"In none of these numbers: {fleet} that are configured for the whole fleet.")


def _held(chain: Chain) -> Element:
    rows = (
        (
            element("span", f"{line.gpus:g} x ", name(line.gpu_model), f" {line.component}"),
            six(line.dollars_per_hour),
            six(line.gpus * line.dollars_per_hour),
            name(f"{line.price_basis}: {line.source}"),
        )
        for line in chain.held
    )
    columns = (("What", False), ("$ per hour of one", True), ("$ per hour", True), ("From", False))
    together = sum(line.gpus * line.dollars_per_hour for line in chain.held)
    return element(
        "section",
        element("h2", _sentence(chains.HOLDS)),
        table(chains.HOLDS, columns, rows, caption=False, foot=("Together", None, six(together), None))
        if chain.held
        else element("p", "Nothing that has a price."),
        id="holds",
    )


def _model(chain: Chain, model: ModelChain) -> Iterator[Content]:
    account = model.account
    yield element("h3", name(account.model or chains.NO_MODEL))
    spent = account.spent
    yield table(
        "Spent",
        (("Phase", False), ("$", True), ("share", True)),
        (
            (
                phase,
                six(dollars(account.money[phase])),
                share(account.money[phase] / spent) if spent else None,
            )
            for phase in PHASES
            if account.money.get(phase)
        ),
        foot=("Together", six(dollars(spent)), None),
    )
    if (split := chains.split_told(model)) is not None:
        yield element("p", f"{_sentence(chains.split_words(split))}.", class_="quiet")
    if account.tokens:
        yield table(
            "Served",
            (("Kind of token", False), ("Tokens", True)),
            ((_spelled(kind), f"{account.tokens.get(kind, 0):,}") for kind in KINDS),
        )
    if (since := chains.unserved_words(account)) is not None:
        yield element("p", f"{_sentence(since)}.")
    yield from _quotients(chain, model)
    if model.ladder:
        yield table(
            _sentence(chains.LADDER),
            (("What is counted", False), ("$", True), ("million tokens", True), ("$ per million", True)),
            (
                (rung.meaning, six(rung.dollars), _millions(rung.tokens), six(rung.dollars_per_million))
                for rung in model.ladder
            ),
        )
    for told in model.against:
        first, second = chains.against_words(told)
        yield element("p", name(first), element("br"), second.strip())


def _quotients(chain: Chain, model: ModelChain) -> Iterator[Content]:
    if chain.partial:
        yield element("p", f"{_sentence(chains.PARTIAL)}.")
    elif model.account.unpriced:
        yield element("p", f"{_sentence(chains.unpriced_words(model.account.unpriced))}.")
    elif not model.prices:
        yield element("p", f"{_sentence(chains.TOO_FEW)}.")
    else:
        yield table(
            _sentence(chains.QUOTIENTS),
            (("Kind, basis", False), ("$", True), ("million tokens", True), ("$ per million", True)),
            (
                (
                    f"{_spelled(price.kind)}, {price.basis}",
                    six(price.dollars),
                    _millions(price.tokens),
                    six(price.dollars_per_million),
                )
                for price in model.prices
            ),
        )


def _day(chain: Chain, course: Course) -> Element:
    told = sorted(
        (party, [course.tokens.get((party, kind), 0) for kind in KINDS])
        for party in {party for party, _kind in course.tokens}
        if party.key == chain.key
    )
    content: Content = element("p", "None.")
    last = {model.account.model: model.account.last_token for model in chain.models}
    if told:
        columns = (("Model", False), *((_spelled(kind), True) for kind in KINDS), ("all", True))
        content = table(
            "Of the running hour and the 24 before it",
            (*columns, ("last token", True)),
            (
                (
                    name(party.model),
                    *(f"{number:,}" for number in counts),
                    f"{sum(counts):,}",
                    None if (at := last.get(party.model)) is None else timestamp(at),
                )
                for party, counts in told
            ),
        )
    return element(
        "section",
        element("h2", "Tokens of ", name(server_name(chain.key)), ", the last 24 hours and this one"),
        content,
        id="tokens",
    )


def _spelled(kind: str) -> str:
    return kind.replace("_", " ")


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}"


def _millions(tokens: int) -> str:
    return f"{tokens / TOKENS_PER_MILLION:,.6f}"
