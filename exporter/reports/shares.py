"""What the doctor says of configured shares that do not fit on a GPU. Pure."""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from exporter.readings import Holder, ServerKey
from exporter.reports.diagnosis import Finding

MOST: Final = 1.0 + 1e-9
"""What shares may come to, and what adding up floats may add."""


def share_findings(held: Iterable[Holder], index: Mapping[str, int]) -> Iterator[Finding]:
    """GPUs, or instances of cut ones, whose holders are to pay for more than all of it together.

    Of servers that are told outright the configuration refuses that; which GPUs those hold that are found,
    only a look tells.
    """
    shares: dict[tuple[str, str], dict[ServerKey, list[float]]] = {}
    for holder in held:
        if holder.share_ratio is not None:
            of_gpu = shares.setdefault((holder.uuid, holder.instance), {})
            of_gpu.setdefault(holder.key, []).append(holder.share_ratio)
    for (uuid, instance), told in sorted(shares.items()):
        sums = {key: math.fsum(ratios) for key, ratios in told.items()}
        if (total := math.fsum(sums.values())) > MOST:
            where = f"GPU {index.get(uuid, uuid)}" + (f", instance {instance}" if instance else "")
            parts = ", ".join(f"{key.server} {ratio:g}" for key, ratio in sorted(sums.items()))
            yield Finding(
                "warning",
                f"{where}: the configured shares come to {total:g} ({parts}): each is divided by that, and "
                "who has none pays nothing. Make `gpu_share_ratio` at most 1 together.",
            )
