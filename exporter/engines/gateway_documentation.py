"""The part of the page of engines that is about gateways."""

from typing import Final

from exporter.engines.gateways import GATEWAYS, Gateway, Shares

_GATEWAYS: Final = """\
## Gateways

They pass requests on and hold no GPU, and what they count their engines count as well.
Their pages are recognized and never counted: such an endpoint fails with the reason `gateway`, and the \
message says what to read instead.

| what | its page | captured | instead |
|---|---|---|---|
"""

_SHARES: Final = """\

What some of them count can divide what a server costs and serves, where its entry has \
[`divide`](configuration.md#serversdivide): between teams, or between the LoRA adapters that engines do not \
tell apart.
It decides who has which part, never how much there is: tokens and money are the server's own.
A prompt is counted whole, cached or not, for most of them do not tell what of it was cached.
LiteLLM asks for usage in a stream where the client did not; of a client that hangs up it counts an estimate.
The gateway must be read at its own page, and the reader says `not_recognized` or `no_teams` where that page \
cannot divide.
[The cost model](cost-model.md#shares-of-a-gateway) has the rule, an example and what it cannot do.

| what | by | prompts | generated | its labels |
|---|---|---|---|---|
"""


def gateways() -> str:
    """The section, Markdown."""
    told = "".join(dict.fromkeys(map(_gateway, GATEWAYS)))
    divides = "".join(_shares(gateway.title, gateway.shares) for gateway in GATEWAYS if gateway.shares)
    return f"{_GATEWAYS}{told}{_SHARES}{divides}"


def _gateway(gateway: Gateway) -> str:
    page = f"`:{gateway.default_port}{gateway.default_path}`, {gateway.what}"
    captured = ", ".join(gateway.captured) or "no"
    return f"| {gateway.title} | {page} | {captured} | {gateway.remedy} |\n"


def _shares(title: str, shares: Shares) -> str:
    labels = [("model", (shares.model,)), ("deployment", (shares.deployment,)), ("team", shares.teams)]
    told = ", ".join(f"{what} {_either(names)}" for what, names in labels if any(names))
    by = "team, adapter" if shares.teams else "adapter"
    return f"| {title} | {by} | {_either(shares.prompt)} | {_either(shares.generation)} | {told} |\n"


def _either(names: tuple[str, ...]) -> str:
    """Names as code, the first that is there."""
    return ", else ".join(f"`{name}`" for name in names)
