"""What a command line, a cgroup and an annotation claim, and what they do not get by it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from exporter.engines.launch import Launch
from exporter.readings import LABEL_CHARACTERS, FailureReason
from exporter.sources.kubernetes import Container, PodAnnotations
from exporter.sources.processes import ProcessGroup
from exporter.sources.processes.procfs import ListeningSocket
from tests.kit.units import SECOND
from tests.sources.discovery.builders import (
    CONTAINERS,
    HERE,
    UIDS,
    api,
    contained,
    gpu,
    group,
    holders_by_part,
    look,
    names,
    pod,
    podded,
    rule,
    skipped,
    sockets,
    urls,
)

HOST, POD_A, POD_B = HERE, 2, 3
TOKEN = Path("/etc/ice/token")
EVIL = Launch("vllm", named_port=18000, metrics_port=18000, model="evil")


def serving(pid: int, port: int = 18000, user: int = 1000, **fields: Any) -> ProcessGroup:
    """A vLLM of a user that listens at a port of the host's network."""
    network = fields.pop("network", HOST)
    return group(pid, server=api(pid, port, **fields), user=user, network=network)


def claiming(pid: int, user: int = 1001, **fields: Any) -> ProcessGroup:
    """A program of another user that names the same port and listens nowhere."""
    network = fields.pop("network", HOST)
    words = {"port_fault": FailureReason.PORT_TAKEN, "metrics_port": None, **fields}
    return group(pid, server=api(pid, None, launch=EVIL, **words), user=user, network=network)


def test_a_port_on_a_command_line_is_not_a_name_where_another_user_listens() -> None:
    """Its dollars go under a name of its own, and no entry for the port is about it."""
    result = look((gpu(0, 7), gpu(1, 8)), (serving(7), claiming(8)), rules=(rule("chat", port=18000),))

    assert holders_by_part(result) == {"GPU-0": ["/chat"], "GPU-1": ["/vllm:model=evil:user-1001"]}
    assert skipped(result)[1] == ("port_taken")
    assert [one.refused for one in result.servers][1].startswith("another user listens")


def test_without_an_entry_it_is_not_called_by_the_port_either() -> None:
    """An ownership rule for `vllm:18000` pays for who listens there alone."""
    result = look((gpu(0, 7), gpu(1, 8)), (serving(7), claiming(8)))

    assert holders_by_part(result) == {"GPU-0": ["/vllm:18000"], "GPU-1": ["/vllm:model=evil:user-1001"]}


def test_a_port_is_meant_in_the_hosts_network_and_not_in_a_containers() -> None:
    """Who may start a container, or a namespace of its own, has all ports there."""
    inside = contained(1, 8, server=api(8, 18000, reach="address", hosts=("10.1.0.2",)), network=POD_A)
    result = look((gpu(0, 7), gpu(1, 8)), (serving(7), inside), rules=(rule("chat", port=18000),))

    assert holders_by_part(result) == {"GPU-0": ["/chat"], "GPU-1": ["/vllm:18000"]}
    assert "add `user`, `unit` or `workload`" in result.servers[1].refused


def in_container(number: int, pid: int, model: str, **fields: object) -> ProcessGroup:
    """A vLLM in a container with a network of its own."""
    how = Launch("vllm", 8000, metrics_port=8000, model=model)
    words = {"reach": "address", "hosts": (f"10.1.0.{pid}",), **fields}
    server = api(pid, 8000, launch=how, **words)
    return contained(number, pid, server=server, started=pid * SECOND, network=10 + number)


def test_two_containers_with_one_port_and_model_are_two_servers() -> None:
    """The later one is called by its container too: no dollar of it goes to the first."""
    result = look((gpu(0, 7), gpu(1, 8)), (in_container(1, 7, "llama"), in_container(2, 8, "llama")))

    assert holders_by_part(result) == {
        "GPU-0": ["/vllm:8000:llama"],
        "GPU-1": ["/vllm:8000:llama:container-222222222222"],
    }
    assert [one.refused for one in result.servers] == [
        "",
        "vllm:8000:llama is also the name of another user's or container's server",
    ]


def test_an_entry_for_a_port_is_about_the_first_of_two_containers() -> None:
    """Who came later does not take it away, and is told what to write."""
    two = in_container(1, 7, "a"), in_container(2, 8, "b")
    result = look((gpu(0, 7), gpu(1, 8)), two, rules=(rule("chat", port=8000, source="servers[0]"),))

    assert names(result) == ["/chat", "/vllm:8000:b"]
    # `doctor` says that it does not get it, and not that it matches nothing.
    assert [one.rule for one in result.servers] == ["servers[0]"] * 2
    assert result.servers[0].refused == ""
    assert result.servers[1].refused == (
        "servers[0] matches servers of several users or containers, and applies to another one; "
        "add `user`, `unit` or `workload` to its match"
    )


def test_an_entry_for_a_program_is_about_one_user() -> None:
    """Of whoever computes, and began first: a stranger who comes later takes nothing; `user` says who."""
    mine, theirs = serving(7, 8000), serving(8, 8001, user=1001)
    gpus = (gpu(0, 7), gpu(1, 8))
    first_is_mine = {"GPU-0": ["/chat"], "GPU-1": ["/vllm:8001"]}

    for groups in ((mine, theirs), (theirs, mine)):
        later = tuple(replace(one, started=one.started + (one is theirs)) for one in groups)
        assert holders_by_part(look(gpus, later, rules=(rule("chat", process="vllm"),))) == first_is_mine
    idle = replace(theirs, computing=(), started=0)
    assert names(look(gpus[:1], (idle, mine), rules=(rule("chat", process="vllm"),))) == [
        "/vllm:8001",
        "/chat",
    ]
    bound = rule("chat", process="vllm", user="1000", uid=1000)
    assert holders_by_part(look(gpus, (theirs, mine), rules=(bound,))) == first_is_mine
    several = (mine, serving(9, 8002))
    assert names(look(gpus, several, rules=(rule("chat", process="vllm"),))) == ["/chat", "/chat"]


UID_1000 = rule("chat", process="vllm", user="1000", uid=1000, source="servers[0]")
CONTAINERS_TOO = rule("chat", process="vllm", user="1000", uid=1000, containers=True, source="servers[0]")


@pytest.mark.parametrize(
    ("one", "named", "with_containers", "remedy"),
    [
        (serving(7), True, True, ""),
        (in_container(1, 7, "m"), False, True, "add `containers: true` to its match"),
        (podded(0, 7, server=api(7)), False, False, 'write `workload: "NAMESPACE/NAME"` in place of `user`'),
        (
            replace(in_container(1, 7, "m"), delegated=True),
            False,
            False,
            "match it by `unit` if a unit of the host starts it, else give its `url`",
        ),
    ],
)
def test_an_entry_for_a_user_is_about_the_hosts_own_processes(
    one: ProcessGroup, remedy: str, *, named: bool, with_containers: bool
) -> None:
    """The uid of a container is its author's choice; who relied on it is told what to write."""
    one = replace(one, user=1000)
    (plain,) = look((gpu(0, 7),), (one,), rules=(UID_1000,)).servers
    (contained_too,) = look((gpu(0, 7),), (one,), rules=(CONTAINERS_TOO,)).servers

    assert (plain.key.server == "chat", contained_too.key.server == "chat") == (named, with_containers)
    assert plain.rule == "servers[0]"
    assert plain.refused.partition(": ")[2] == remedy


def test_an_entry_for_a_user_is_about_no_pod_that_is_listed() -> None:
    """Its remedy names the workload; an entry below is applied."""
    rules = (UID_1000, rule("theirs", workload="ml/evil"))
    evil = podded(0, 7, server=api(7), user=1000)
    (one,) = look((gpu(0, 7),), (evil,), pods=(pod("evil-0", "evil"),), rules=rules).servers

    assert one.key.server == "theirs"
    assert 'write `workload: "ml/evil"` in place of `user`' in one.refused


def test_an_entry_for_a_user_is_about_nobody_else() -> None:
    """Nor about a process whose user is not one, nor where this machine does not know the name."""
    for user, uid, name in ((1000, 1000, "chat"), (1001, 1000, "vllm:18000"), (None, 1000, "vllm:18000")):
        one = serving(7, user=0)
        one = group(7, server=one.server, user=user)
        assert names(look((gpu(0, 7),), (one,), rules=(rule("chat", user="vllm", uid=uid),))) == [f"/{name}"]
    unknown = rule("chat", user="nobody-here")
    assert names(look((gpu(0, 7),), (group(7, server=serving(7).server),), rules=(unknown,))) == [
        "/vllm:18000"
    ]


def test_an_entry_for_a_unit_is_about_the_hosts_own() -> None:
    """A user's manager may call a unit of its own the same, and what is in no unit is in none."""
    chat = (rule("chat", unit="vllm.service"),)
    server = serving(7).server
    system = group(7, server=server, unit="vllm.service", system_unit="vllm.service")
    users = group(7, server=server, unit="vllm.service")

    assert names(look((gpu(0, 7),), (system,), rules=chat)) == ["/chat"]
    assert names(look((gpu(0, 7),), (users,), rules=chat)) == ["/vllm:18000"]
    assert names(look((gpu(0, 7),), (group(7, server=server),), rules=(rule("chat", unit="*"),))) == [
        "/vllm:18000"
    ]


def test_an_entry_for_a_unit_is_about_one_user_in_each() -> None:
    """A service may start programs of other users; services of one pattern have users of their own."""

    def of(pid: int, unit: str, user: int) -> ProcessGroup:
        one = replace(serving(pid, 8000 + pid), user=user, started=pid * SECOND)
        return replace(one, unit=unit, system_unit=unit)

    three = of(7, "vllm@a.service", 1000), of(8, "vllm@a.service", 1001), of(9, "vllm@b.service", 1002)
    result = look((gpu(0, 7, 8, 9),), three, rules=(rule("chat", unit="vllm@*", bearer_token_file=TOKEN),))

    assert names(result) == ["/chat", "/vllm:8008", "/chat"]
    assert [
        target.access.bearer_token_file for target in result.targets if target.key.server == "vllm:8008"
    ] == [None]


def test_two_users_programs_of_one_name_are_two() -> None:
    """What computes without serving is called by its program, which anybody may choose, and by its user."""
    train = group(7, name="train.py", user=1000)
    both = look((gpu(0, 7), gpu(1, 8)), (train, group(8, name="train.py", user=1001)))

    assert holders_by_part(both) == {
        "GPU-0": ["/unmatched:train.py:user-1000"],
        "GPU-1": ["/unmatched:train.py:user-1001"],
    }
    assert [one.refused for one in both.servers] == ["", ""]
    assert names(look((gpu(0, 7),), (train,))) == ["/unmatched:train.py:user-1000"]
    alone = look((gpu(0, 7, 8),), (group(7, name="a", user=1000), group(8, name="a", user=1000)))
    assert names(alone) == ["/unmatched:a:user-1000"] * 2


def test_who_listens_keeps_the_name_of_its_port() -> None:
    """Whoever names it on a command line, and however early; a model is no port."""
    named = group(
        server=api(8, None, launch=replace(EVIL, model=""), metrics_port=None),
        network=HOST,
        user=1001,
        started=0,
    )
    called = replace(claiming(9), started=0)
    digits = replace(
        called, server=api(9, None, launch=replace(EVIL, model="18000"), port_fault=FailureReason.PORT_TAKEN)
    )

    result = look((gpu(0, 7),), (named, digits, serving(7)))
    assert names(result) == ["/vllm:18000:user-1001", "/vllm:model=18000:user-1001", "/vllm:18000"]


def test_a_long_name_keeps_its_user() -> None:
    """The name is cut and not what tells two apart."""
    model = "x" * 200
    groups = tuple(
        contained(number, number, server=api(number, 80, launch=Launch("vllm", 80, model=model)), user=number)
        for number in (1, 2)
    )
    result = [name.partition("/")[2] for name in names(look((gpu(0, 1, 2),), groups))]

    assert [name[-7:] for name in result] == ["xxxxxxx", ":user-2"]
    assert {len(name) for name in result} == {LABEL_CHARACTERS}
    (own,) = names(
        look((gpu(0, 1),), (group(1, server=api(1, None, launch=Launch("vllm", model=model)), user=5),))
    )
    assert (own[-8:], len(own)) == ("x:user-5", LABEL_CHARACTERS + 1)


def test_the_name_that_an_entry_gives_is_nobodys_by_a_command_line() -> None:
    """Also where who it is meant for is not here."""
    ours = rule("vllm:18000", user="vllm", uid=1000)
    assert names(look((gpu(0, 7),), (serving(7, user=1001),), rules=(ours,))) == ["/vllm:18000:user-1001"]


def test_a_program_that_an_entry_names_is_not_read_without_a_gpu() -> None:
    """Its page would be counted for whom the entry means; a port that is held, or a user, is enough."""
    idle = group(server=serving(7).server, user=1000)

    assert urls(look((), (idle,), rules=(rule("chat", process="vllm"),))) == {}
    assert urls(look((), (idle,), rules=(rule("chat", port=18000),))) != {}
    assert urls(look((), (idle,), rules=(rule("chat", user="1000", uid=1000),))) != {}


def test_a_token_goes_to_a_socket_of_this_host_that_is_held() -> None:
    """Over plain http to no other address, and to no port that something else may have."""
    mine = {"user": "1000", "uid": 1000, "bearer_token_file": TOKEN}
    beyond = serving(7, reach="address", hosts=("10.1.0.2",), network=POD_A)
    clear = "token_in_the_clear"

    assert urls(look((gpu(0, 7),), (serving(7),), rules=(rule("chat", **mine),))) != {}
    assert skipped(look((gpu(0, 7),), (beyond,), rules=(rule("chat", **mine),))) == [clear]
    assert skipped(look((gpu(0, 7),), (serving(7),), rules=(rule("chat", metrics_port=9000, **mine),))) == [
        "not_listening"
    ]
    safe = rule("chat", metrics_scheme="https", **mine)
    assert [*urls(look((gpu(0, 7),), (beyond,), rules=(safe,)))] == ["https://10.1.0.2:18000/metrics"]


def test_a_token_goes_to_a_pod_at_the_address_that_its_cluster_tells() -> None:
    """And a pod of another namespace is not meant."""
    ours = rule("chat", workload="ml/chat", bearer_token_file=TOKEN)
    server = api(7, 8000, reach="address", hosts=("10.9.9.9",))
    result = look(
        (gpu(0, 7),),
        (podded(0, 7, server=server, network=POD_A),),
        pods=(pod("chat-0", "chat"),),
        rules=(ours,),
    )

    (target,) = result.targets
    assert (target.url, target.access.bearer_token_file) == ("http://10.0.0.0:8000/metrics", TOKEN)


def test_of_two_that_are_read_at_one_address_it_is_the_one_that_listens() -> None:
    """A pod of the host's network may name any port of it by annotation."""
    victim = serving(9, 18000, hosts=("10.0.0.1",))
    thief = pod("a-0", "a", ips=("10.0.0.1",), pod_annotations=PodAnnotations(port=18000))
    result = look((gpu(0, 9), gpu(1, 7)), (podded(0, 7, name="x"), victim), pods=(thief,))

    assert urls(result) == {"http://10.0.0.1:18000/metrics": "/vllm:18000"}
    assert "address_taken" in skipped(result)


def test_a_port_that_another_server_holds_is_not_read_for_this_one() -> None:
    """An entry may name a port of metrics; who holds it is read there, and nobody else."""
    result = look(
        (gpu(0, 7), gpu(1, 8)),
        (serving(7, 8000), serving(8, 9000, user=1001)),
        rules=(rule(process="vllm", metrics_port=9000),),
    )

    assert urls(result) == {"http://127.0.0.1:9000/metrics": "/vllm:9000"}
    assert skipped(result)[0] == "address_taken"


def test_one_port_at_two_addresses_is_read_at_both() -> None:
    """A server, and a program that an entry names, beside another user's server at another address."""
    theirs = serving(8, 18000, user=1001, hosts=("127.0.0.2",))
    here = (ListeningSocket("127.0.0.1", 18000, 7, 1000),)
    program = group(7, user=1000, sockets=sockets(*here))

    for mine in (serving(7), program):
        result = look(
            (gpu(0, 7), gpu(1, 8)), (mine, theirs), rules=(rule("chat", user="1000", uid=1000, port=18000),)
        )
        assert urls(result) == {
            "http://127.0.0.1:18000/metrics": "/chat",
            "http://127.0.0.2:18000/metrics": "/vllm:18000",
        }


def test_of_two_that_listen_at_a_port_all_addresses_come_first() -> None:
    """Who began earlier at another address takes no name; who computes comes before who does not."""
    mine = serving(7)
    early = replace(serving(8, user=1001, hosts=("::1",)), started=0)
    gpus = gpu(0, 7), gpu(1, 8)

    assert names(look(gpus, (early, mine))) == ["/vllm:18000:user-1001", "/vllm:18000"]
    sixth = serving(7, hosts=("::1",))
    idle = replace(serving(8, user=1001), computing=(), started=0)
    assert names(look(gpus[:1], (idle, sixth))) == ["/vllm:18000:user-1001", "/vllm:18000"]


def test_a_users_own_cgroups_are_no_pods() -> None:
    """It may give them the uid of a pod and the id of a container."""
    annotated_pod = pod(
        "chat-0",
        "chat",
        uid=UIDS[0],
        containers=(Container("main", CONTAINERS[0]),),
        pod_annotations=PodAnnotations(port=1),
    )
    forged = group(7, server=serving(7).server, container=CONTAINERS[0], pod="", delegated=True)
    result = look((gpu(0, 7),), (forged,), pods=(annotated_pod,))

    assert names(result) == ["ml/chat", "/vllm:18000"]
