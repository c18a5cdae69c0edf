"""The fleets of these tests: hosts that come and go, a ledger that was lost, a machine that was replaced.

Within the week an owner spends as much more than now as less, and for as long, so that the mean of the week
is what is spent now, exactly, and stays it however often it is taken; the mean of the last day is less.
"""

from dataclasses import replace

from tests.e2e.fleet.expected_hosts import (
    DAY,
    FOREVER,
    HOUR,
    UNALLOCATED,
    UNASSIGNED_OWNER,
    ExpectedFleet,
    ExpectedHost,
    FleetGpu,
    FleetServer,
)

PART = 52 * HOUR
"""A third of the history."""
BEGIN = -3 * PART
"""Where the history begins: within seven days, and more than six ago."""
MONTH_BEGIN, MONTH_END = -504 * HOUR, 240 * HOUR
"""A month of 744 hours."""

CHAT = ("chat", "conversations")
SEARCH = ("search", "retrieval")
RESEARCH = ("research", "lab")

CHAT_70B = FleetServer(
    "chat-70b", CHAT, "prod", "Llama-3.3-70B", (250, 350, 0, 390, 10), (900_000, 300_000, 400_000)
)
SEARCH_8B = FleetServer(
    "search-8b", SEARCH, "prod", "Qwen3-8B", (500, 100, 0, 400, 0), (4_000_000, 0, 50_000)
)
PREFILL = FleetServer(
    "draft-prefill", RESEARCH, "lab", "Draft-32B", (600, 0, 0, 400, 0), (1_200_000, 0, 0), "role"
)
DECODE = FleetServer(
    "draft-decode", RESEARCH, "lab", "Draft-32B", (0, 700, 0, 300, 0), (0, 0, 600_000), "role"
)
TRIAL = FleetServer("trial", RESEARCH, "lab", "Trial-1B", (100, 100, 0, 800, 0), (50_000, 0, 50_000))
ARCHIVE = FleetServer("archive-13b", UNASSIGNED_OWNER, "", "Archive-13B", up=False)


def gpus(
    host: str, count: int, model: str, rent: int, network: int, basis: str = "configured"
) -> tuple[FleetGpu, ...]:
    """GPUs of one price; `basis` says where it comes from."""
    return tuple(FleetGpu(f"GPU-{host}-{index}", model, rent, network, basis) for index in range(count))


def h100s(host: str, count: int) -> tuple[FleetGpu, ...]:
    """At 2.50 dollars an hour each."""
    return gpus(host, count, "NVIDIA H100 80GB HBM3", 2_400_000, 100_000)


def l4s(host: str, count: int) -> tuple[FleetGpu, ...]:
    """At 0.80 dollars an hour each, which nobody was told."""
    return gpus(host, count, "NVIDIA L4", 750_000, 50_000, "estimate")


def make_host(
    cluster: str, host: str, ledger: str, metal: tuple[FleetGpu, ...], *gpu_servers: FleetServer, **life: int
) -> ExpectedHost:
    """One ledger's life on a host; `earlier`: its first holder's dollars of the month before the history."""
    earlier = life.get("earlier", 0)
    return ExpectedHost(
        cluster,
        f"{host}:9844",
        ledger,
        metal,
        gpu_servers,
        life.get("begin", BEGIN),
        life.get("end", FOREVER),
        ((gpu_servers[0].owner, earlier * 10**6),) if earlier else (),
    )


LOST = FleetGpu("GPU-west-2-1", "NVIDIA L4", 750_000, 50_000, "estimate", up=False)
UNPRICED = FleetGpu("GPU-west-1-2", "NVIDIA L40S", 0, 0, "")

FLEET = ExpectedFleet(
    (
        make_host(
            "east",
            "east-1",
            "e1",
            h100s("east-1", 4),
            CHAT_70B,
            CHAT_70B,
            SEARCH_8B,
            UNALLOCATED,
            earlier=6_120,
        ),
        # replaced by another machine two hours ago
        make_host(
            "east", "east-2", "e2", h100s("east-2", 2), CHAT_70B, CHAT_70B, end=-2 * HOUR, earlier=3_480
        ),
        make_host("east", "east-3", "e3", h100s("east-3", 2), CHAT_70B, CHAT_70B, begin=-2 * HOUR),
        # spot machines: none in the first part of the week, two in the second; one, two, none and one since
        make_host(
            "east", "spot-1", "s1", h100s("spot-1", 1), SEARCH_8B, begin=BEGIN + PART, end=BEGIN + 2 * PART
        ),
        make_host("east", "spot-2", "s2", h100s("spot-2", 1), SEARCH_8B, begin=BEGIN + PART, end=-24 * HOUR),
        make_host("east", "spot-3", "s3", h100s("spot-3", 1), SEARCH_8B, begin=-46 * HOUR, end=-24 * HOUR),
        make_host("east", "spot-4", "s4", h100s("spot-4", 1), SEARCH_8B, begin=-2 * HOUR),
        make_host(
            "west",
            "west-1",
            "w1",
            (*gpus("west-1", 2, "NVIDIA L40S", 1_000_000, 200_000), UNPRICED),
            PREFILL,
            DECODE,
            TRIAL,
            earlier=760,
        ),
        # its disk died three days ago: the books began anew
        make_host(
            "west", "west-2", "w2", (*l4s("west-2", 1), LOST), ARCHIVE, SEARCH_8B, end=-3 * DAY, earlier=155
        ),
        make_host("west", "west-2", "w2-new", (*l4s("west-2", 1), LOST), ARCHIVE, SEARCH_8B, begin=-3 * DAY),
    ),
    (("fleet", "", 27_000), ("chat", "chat", 12_000)),
    "2026-07",
    MONTH_BEGIN,
    MONTH_END,
    "2026-06",
    forgotten=(
        make_host(
            "east",
            "spot-0",
            "s0",
            h100s("spot-0", 1),
            CHAT_70B,
            begin=-400 * HOUR,
            end=-300 * HOUR,
            earlier=62,
        ),
        make_host("west", "west-0", "w0", l4s("west-0", 1), ARCHIVE, begin=-450 * HOUR, end=-200 * HOUR),
    ),
    overheads=(("staff", 9_000_000), ("office", 1_500_000)),
    nodes=("west-9",),
    hosted=900_000,
)
"""What the panels, the sums and the second engine are asked about."""


def heading(for_dollars: str, chat: int, search: int) -> ExpectedFleet:
    """A fleet at 36 dollars an hour, of which chat takes 24, search 9, and nobody 3.

    `chat` and `search` are what their month has come to at the history's end, in dollars.
    """
    assistant = FleetServer(
        "chat-70b", CHAT, "prod", "Llama-3.3-70B", (400, 500, 0, 100, 0), (900_000, 0, 400_000)
    )
    finder = FleetServer("search-8b", SEARCH, "prod", "Qwen3-8B", (400, 500, 0, 100, 0), (900_000, 0, 40_000))
    metal = gpus(for_dollars, 12, "NVIDIA H200", 2_800_000, 200_000)
    hours = -BEGIN // HOUR
    spent = ((CHAT, chat, 24), (SEARCH, search, 9))
    only = ExpectedHost(
        "east",
        f"{for_dollars}-1:9844",
        f"{for_dollars}-ledger",
        metal,
        (*[assistant] * 8, *[finder] * 3, UNALLOCATED),
        BEGIN,
        earlier=tuple((owner, (dollars - rate * hours) * 10**6) for owner, dollars, rate in spent),
    )
    budgets = (("fleet", "", 27_000), ("chat", "chat", 20_000))
    return ExpectedFleet((only,), budgets, "2026-07", MONTH_BEGIN, MONTH_END, "2026-06")


def fallen(host: ExpectedHost, at: int, gpus: int) -> ExpectedHost:
    """The same ledger from a second on, with only its first GPUs; what was spent stays in its month."""
    spent: dict[tuple[str, str], int] = {}
    for (product, team, _), dollars in host.month(at).items():
        spent[product, team] = spent.get((product, team), 0) + round(dollars * 10**6)
    return replace(
        host,
        gpus=host.gpus[:gpus],
        gpu_servers=host.gpu_servers[:gpus],
        begin=at,
        earlier=tuple(spent.items()),
    )
