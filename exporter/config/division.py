"""The key `divide` of a server: whose counts divide its money and tokens."""

from typing import Final
from urllib.parse import urlsplit

from exporter.config.addresses import Url
from exporter.config.schema import Block, Key, ListOf, Table
from exporter.config.settings import Divide
from exporter.config.values import AbsolutePath, Choice, Label, Pattern
from exporter.readings import DividedBy, Division

BY: Final[Key[DividedBy]] = Key(
    "by",
    Choice(("team", "adapter")),
    "What it is divided by. Team: the teams that the LiteLLM proxy tells, each in place of the server's own; "
    "adapter: LoRA adapters, each as a model of the server.",
    required=True,
)
GATEWAY = Key(
    "gateway",
    Url(instead="bearer_token_file"),
    "Where the gateway's metrics are read. The LiteLLM proxy has them at /metrics/, with a slash at its end, "
    "the Gateway API endpoint picker at /metrics.",
    required=True,
)
MODELS = Key(
    "models",
    ListOf(Pattern(), least=1),
    "What the gateway calls what this server serves, without the provider and its slash: patterns. By team, "
    "beside the names that the server itself tells; by adapter, the names of its adapters, as vLLM has them.",
)
DEPLOYMENTS = Key(
    "deployments",
    ListOf(Label("deployment"), least=1),
    "The model_id of those of the LiteLLM proxy's deployments that lead to this server; without it, all that "
    "serve its models, but for those that another server's entry names.",
)
BEARER_TOKEN_FILE = Key(
    "bearer_token_file", AbsolutePath(), "A file that holds the token to send; the LiteLLM proxy wants one."
)
CA_FILE = Key("ca_file", AbsolutePath(), "A file of certificates (PEM) to trust; https only.")


def _adapters_are_named(block: Block) -> bool:
    if block.values.get(BY.name) != "adapter" or MODELS in block or MODELS.name in block.meant:
        return True
    block.refuse(
        None,
        "says nothing of the adapters: give models, the names of its adapters, "
        'or ["*"] where the gateway leads to this server alone',
    )
    return False


def _certificates_go_with_https(block: Block) -> bool:
    url = block.get(GATEWAY) if GATEWAY.name in block.values else None
    if CA_FILE not in block or url is None or urlsplit(url).scheme == "https":
        return True
    block.refuse(CA_FILE, "goes with an https URL only; remove it or write https")
    return False


def _divide(block: Block) -> Divide:
    return Divide(
        Division(block[BY], block[GATEWAY], block.get(MODELS) or (), block.get(DEPLOYMENTS) or ()),
        block.get(BEARER_TOKEN_FILE),
        block.get(CA_FILE),
    )


DIVIDE = Key(
    "divide",
    Table(
        (BY, GATEWAY, MODELS, DEPLOYMENTS, BEARER_TOKEN_FILE, CA_FILE),
        _divide,
        (_adapters_are_named, _certificates_go_with_https),
    ),
    "Divides what the server costs and serves by what a gateway before it counts; what the gateway did not "
    "see stays with the server's owner, and everything does until it has counted something.",
)
