"""What a small host's ledger must hold, worked from prices, the boot clock and what its servers reported.

Nothing here asks the exporter what is right: its ledger and its page are only read.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from exporter.report import CommittedTotals
from tests.e2e.daemon import Page
from tests.e2e.load_servers import KINDS, Counts, Load
from tests.kit.units import HOUR, SECOND

PICODOLLARS: Final = 10**12
GPUS: Final = 3
OWNED: Final = 2
"""The third; all others are rented."""
MILLIWATTS: Final = 400_000
"""What each GPU draws: far enough below its limit of 700 W that no read that is late looks implausible."""
LATE_SECONDS: Final = 5
"""Energy is reported when a read comes, time when a tick begins: they may be this far apart."""
PACES: Final[dict[str, Counts]] = {
    "chat": (11, 5, 3),
    "search": (2, 7, 1),
    "embed": (29, 0, 1),
    "batch": (1, 1, 13),
}
"""Tokens a millisecond, by server."""


def configuration(load: Load) -> str:
    """Two rented GPUs and one that is owned, four servers on them, an overhead; the shortest interval."""
    chat, search, embed, batch = (server.url for server in load.servers.values())
    return f"""
interval: 1s
hardware:
  - match: {{uuid: "GPU-00000002*"}}
    owned: {{purchase_dollars_per_gpu: 31000, in_service: 2026-01-01, life_years: 4}}
    energy: {{dollars_per_kilowatt_hour: 0.31, pue_ratio: 1.3}}
  - {{match: {{}}, rented: {{dollars_per_gpu_hour: 2.37, billing: while_up}}}}
overheads:
  - {{name: network, dollars_per_hour: 1.10, per: host}}
servers:
  - {{name: chat, url: "{chat}", engine: vllm, gpus: [0]}}
  - {{name: search, url: "{search}", engine: vllm, gpus: [1]}}
  - {{name: embed, url: "{embed}", engine: vllm, gpus: [2], gpu_share_ratio: 0.6}}
  - {{name: batch, url: "{batch}", engine: vllm, gpus: [2], gpu_share_ratio: 0.4}}
"""


@dataclass(frozen=True)
class HostTotals:
    """Totals of a ledger or a page: nanoseconds, picodollars, millijoules, tokens.

    `unobserved` is the part of `time` that nobody watched, as a mean of all GPUs.
    """

    time: int
    unobserved: Fraction
    money: dict[tuple[int, str], int]
    energy: dict[int, int]
    tokens: dict[str, Counts]
    residual: int
    gpus: int = GPUS

    @classmethod
    def of_ledger(cls, totals: CommittedTotals, gpus: int = GPUS) -> "HostTotals":
        """From the ledger of a host with so many GPUs, of which all but the third are rented."""
        tokens: dict[str, list[int]] = {name: [0] * len(KINDS) for name in PACES}
        for (owner, kind), count in totals.tokens.items():
            tokens[owner.server][KINDS.index(kind)] += count
        gpu_time = [(time, owner_phase.phase) for owner_phase, time in totals.gpu_time.items()]
        return cls(
            time=_whole(sum(time for time, _ in gpu_time), gpus),
            unobserved=Fraction(sum(time for time, phase in gpu_time if phase == "unobserved"), gpus),
            money={(_number(gpu.uuid), component): n for (gpu, component), n in totals.gpu_cost.items()},
            energy={_number(gpu.uuid): energy for gpu, energy in totals.energy.items()},
            tokens={name: _counts(counted) for name, counted in tokens.items()},
            residual=totals.residual,
            gpus=gpus,
        )

    @classmethod
    def of_page(cls, page: Page) -> "HostTotals":
        """From what is scraped: a float tells these few dollars to less than a picodollar."""
        gpu_time = [
            (round(value * SECOND), labels["phase"])
            for labels, value in page.rows.get("inference_gpu_seconds_total", ())
        ]
        tokens = {name: page.tokens(name) for name in PACES}
        return cls(
            time=_whole(sum(time for time, _ in gpu_time), GPUS),
            unobserved=Fraction(sum(time for time, phase in gpu_time if phase == "unobserved"), GPUS),
            money={
                (_number(labels["uuid"]), labels["component"]): round(value * PICODOLLARS)
                for labels, value in page.rows.get("inference_gpu_cost_dollars_total", ())
            },
            energy={
                _number(labels["uuid"]): round(value * 1000)
                for labels, value in page.rows.get("inference_gpu_energy_joules_total", ())
            },
            tokens={
                name: _counts([counted.get(kind, 0) for kind in KINDS]) for name, counted in tokens.items()
            },
            residual=round(page.value("inference_ledger_residual_dollars") * PICODOLLARS),
        )

    def differences(self) -> list[str]:
        """What is not as it must be, whatever the time is."""
        problems = [f"residual {self.residual}"] if self.residual else []
        expected = self.expected_money()
        if expected != self.money:
            problems.append(f"money {self.money} and not {expected} after {self.time} ns")
        for gpu, energy in self.energy.items():
            if abs(energy - MILLIWATTS * self.time // SECOND) > MILLIWATTS * LATE_SECONDS:
                problems.append(f"GPU {gpu}: {energy} mJ after {self.time} ns")
        return problems

    def falls(self, before: "HostTotals") -> list[str]:
        """What stepped back since an earlier account."""
        pairs: list[tuple[object, int, int]] = [("time", before.time, self.time)]
        pairs += [(key, amount, self.money.get(key, 0)) for key, amount in before.money.items()]
        pairs += [(gpu, energy, self.energy.get(gpu, 0)) for gpu, energy in before.energy.items()]
        for name, counts in before.tokens.items():
            pairs += [(name, *pair) for pair in zip(counts, self.tokens[name], strict=True)]
        return [f"{what} fell from {then} to {now}" for what, then, now in pairs if now < then]

    def expected_money(self) -> dict[tuple[int, str], int]:
        """Price x time in whole picodollars, rounded down once, whatever the ticks and processes."""
        rent = Fraction("2.37") * self.time / HOUR
        network = Fraction("1.10") * self.time / HOUR / self.gpus
        exact = {(gpu, "rent"): rent for gpu in range(self.gpus) if gpu != OWNED}
        exact |= {(gpu, "network"): network for gpu in range(self.gpus)}
        exact[OWNED, "amortization"] = Fraction(31_000) * self.time / (4 * 8766 * HOUR)
        exact[OWNED, "energy"] = (
            Fraction("0.31") * Fraction("1.3") * self.energy.get(OWNED, 0) / 3_600_000_000
        )
        return {key: int(dollars * PICODOLLARS) for key, dollars in exact.items()}


def _whole(total: int, parts: int) -> int:
    """The equal parts of a total, in whole nanoseconds."""
    part, rest = divmod(total, parts)
    assert rest == 0, f"{total} ns is no whole part for each of {parts} GPUs"
    return part


def _number(uuid: str) -> int:
    return int(uuid.split("-")[1], 16)


def _counts(counted: list[int]) -> Counts:
    prompt, cached, generation = counted
    return prompt, cached, generation
