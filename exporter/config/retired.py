"""The keys of `retired`: GPUs that were taken out for good, and since when."""

from exporter.config.moments import Moment
from exporter.config.schema import Block, Item, Key, ListOf, Table, Walk
from exporter.config.values import Label
from exporter.tariff.terms import Retirement

UUID = Key("uuid", Label("GPU's UUID", exact=True), "The GPU's UUID, exactly as NVML said it.", required=True)
SINCE = Key(
    "from",
    Moment(),
    "When it left: a date (the first instant of that local day) or a time, as prices have it.",
    required=True,
)
NOTE = Key("note", Label("note"), "A word for whoever asks where it is.", default=None)


def _retirement(block: Block) -> Retirement:
    since = block[SINCE]
    return Retirement(block[UUID], since.instant, since.text, block.get(NOTE) or "")


def _gpus_are_told_once(items: list[Item[Retirement]], walk: Walk) -> bool:
    good = True
    seen: dict[str, str] = {}
    for item in items:
        if item.value.uuid in seen:
            message = f'"{item.value.uuid}" is already given by {seen[item.value.uuid]}; give it once'
            item.refuse(UUID.name, message, walk)
            good = False
        seen.setdefault(item.value.uuid, item.path)
    return good


RETIRED = Key(
    "retired",
    ListOf(Table((UUID, SINCE, NOTE), _retirement, words="GPU"), (_gpus_are_told_once,)),
    "GPUs that were taken out for good: sold, returned, scrapped. From then on they cost nothing; what was "
    "charged stays, and one that NVML still shows is charged on.",
)
