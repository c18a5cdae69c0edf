"""Rules of `hardware` that match no GPU of a host, and by what each misses the one that is nearest. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Final

from exporter.readings import Gpu
from exporter.tariff.gpu_names import meant
from exporter.tariff.tariff import Tariff
from exporter.tariff.terms import Hardware

MOST_SHOWN: Final = 60
"""Characters of a name that are repeated; a host's name or a label may be long."""


@dataclass(frozen=True, slots=True)
class Missed:
    """A rule that matches no GPU here, and why, as the end of a sentence.

    `slip`: it would match but for the case of one pattern, or for one that does not cover all of what is
    here. Others are mostly rules of other hosts.
    """

    rule: str
    why: str
    slip: bool


def missed(tariff: Tariff, gpus: Iterable[Gpu]) -> Iterator[Missed]:
    """Each rule of a host's tariff that matches none of its GPUs; none where it has no GPU.

    A rule behind one that takes its GPUs matches them all the same.
    """
    here = tuple(dict.fromkeys(gpus))
    for rule in tariff.hardware:
        # Of each GPU what it is missed by; the nearest is the one that is missed by the fewest.
        by = [tuple(_by(tariff, rule, gpu)) for gpu in here]
        if not by or not all(by):
            continue
        first, *others = min(by, key=lambda misses: (len(misses), not misses[0].slip))
        yield replace(first, slip=first.slip and not others)


def _by(tariff: Tariff, rule: Hardware, gpu: Gpu) -> Iterator[Missed]:
    match, place = rule.match, tariff.place
    name = rule.source.partition(".")[0]
    labels = dict(place.node_labels or ())
    for key, pattern, text in (
        ("host", match.host, tariff.host),
        ("instance_type", match.instance_type, place.instance_type),
        ("lifecycle", match.lifecycle, place.lifecycle),
        ("region", match.region, place.region),
        *((f"node_label {label}", pattern, labels.get(label)) for label, pattern in match.node_label),
        ("gpu_model", match.gpu_model, gpu.gpu_model),
        ("uuid", match.uuid, gpu.uuid),
    ):
        # Azure's metadata say Standard_ND96isr_H100_v5, people often leave the first word out.
        spellings = {text, text and text.removeprefix("Standard_")} if key == "instance_type" else {text}
        if pattern is None or any(told is not None and fnmatchcase(told, pattern) for told in spellings):
            continue
        yield Missed(name, *_why(key, pattern, text or ""))


def _why(key: str, pattern: str, text: str) -> tuple[str, bool]:
    if not text:
        return f'{key} "{pattern}", and this host tells none', False
    shown = text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."
    if fnmatchcase(text.casefold(), pattern.casefold()):
        return f'{key} "{pattern}" differs in case from "{shown}"', True
    if better := meant(pattern, text):
        return f'{key} "{pattern}" does not cover all of "{shown}": write "{better}"', True
    return f'{key} "{pattern}" is not "{shown}"', False
