"""What holds for every host, however it is read and whatever its workloads claim."""

from dataclasses import replace
from fractions import Fraction
from urllib.parse import urlsplit

from hypothesis import given

from exporter.clock import SystemClock
from exporter.readings import LABEL_CHARACTERS, ServerReading
from exporter.sources import configured
from exporter.sources.discovery.endpoint_address import ScanTime
from exporter.sources.discovery.naming import name_servers
from exporter.sources.discovery.servers import DiscoveryResult, find_servers
from exporter.sources.discovery.tenants import tenants
from exporter.sources.server import ServerSource, shared_client
from tests.cost.checked_meter import CheckedMeter
from tests.cost.readings import cost_policy, page, rent
from tests.depth import examples
from tests.kit.units import DOLLAR, SECOND
from tests.sources.discovery.builders import BOOT, NOW, gpu
from tests.sources.discovery.host_strategies import GPUS, RandomHost, stories, strategy_hosts

HOSTS = {"127.0.0.1", "10.0.0.1", "fd00::1", "10.0.0.7", "fd00::7"}
"""The addresses that sources told. No workload did."""


def look(simulated: RandomHost) -> DiscoveryResult:
    return find_servers(simulated.config, simulated.gpus, simulated.snapshot, NOW)


def claimed(simulated: RandomHost) -> set[str]:
    """The GPUs whose holders the configuration says."""
    return {
        gpu.gpu.uuid
        for gpu in simulated.gpus
        for server in simulated.config.servers
        if gpu.index in (server.gpus or ()) or gpu.gpu.uuid in (server.gpus or ())
    }


@examples(200)
@given(strategy_hosts)
def test_every_gpu_has_holders_or_is_unsure_or_nobodys(simulated: RandomHost) -> None:
    """Nobody's is only one on which nobody computes and of which nobody was given a part; nothing raises."""
    result = look(simulated)
    here = {gpu.gpu.uuid: gpu for gpu in simulated.gpus if gpu.up}
    held_uuids = {holder.uuid for holder in result.holders}
    assert held_uuids | result.unknown_gpus <= set(here) - claimed(simulated)
    assert not held_uuids & result.unknown_gpus
    processes, kubelet = simulated.snapshot.groups is not None, simulated.snapshot.given is not None
    for uuid in set(here) - claimed(simulated) - held_uuids:
        gpu = here[uuid]
        processes_known = gpu.processes is not None and processes
        # While nobody tells of pods, whoever computes may be one whose name is not known.
        nameless = processes_known and bool(gpu.processes) and simulated.snapshot.pods is None
        if simulated.snapshot.pods is None and simulated.snapshot.given:
            continue  # it may have been given to a pod whose name is not known, and then nobody is sure
        assert (uuid in result.unknown_gpus) == (not processes_known or not kubelet or nameless)
        assert nameless or not (processes_known and gpu.processes)


@examples(200)
@given(strategy_hosts)
def test_everybody_who_is_seen_to_compute_holds_what_they_compute_on(simulated: RandomHost) -> None:
    """By the parts that NVML tells; once each, and with all the memory that their processes hold."""
    result = look(simulated)
    keys = [(holder.key, holder.uuid, holder.instance) for holder in result.holders]
    assert len(keys) == len(set(keys))
    if simulated.snapshot.groups is None or simulated.snapshot.pods is None:
        return
    for card in simulated.gpus:
        uuid = card.gpu.uuid
        if not card.up or uuid in claimed(simulated):
            continue
        pids = {member.pid for group in simulated.snapshot.groups for member in group.computing}
        mine = [process for process in card.processes or () if process.pid in pids]
        memory = sum(process.memory_bytes or 0 for process in mine)
        holders = [holder for holder in result.holders if holder.uuid == uuid]
        assert {process.instance for process in mine} <= {holder.instance for holder in holders}
        assert memory <= sum(holder.memory_bytes or 0 for holder in holders)


@examples(200)
@given(strategy_hosts)
def test_names_are_fit_to_be_printed_and_never_reserved(simulated: RandomHost) -> None:
    """Whatever is on a command line, in an annotation or in a rule."""
    result = look(simulated)
    for key in {one.key for one in result.servers} | {holder.key for holder in result.holders}:
        assert key.server not in ("", "unallocated", "other")
        assert key.server.isprintable()
        assert len(key.server) <= LABEL_CHARACTERS
    for owned in result.owners:
        assert (owned.product + owned.team).isprintable()
    for one in result.servers:
        assert (one.model + one.engine).isprintable()
        assert bool(one.url) != (one.skip_reason is not None)


@examples(200)
@given(strategy_hosts)
def test_a_server_that_holds_a_gpu_is_read_or_has_its_reason(simulated: RandomHost) -> None:
    """Unless that is as it should be, which has no remedy and no series."""
    result = look(simulated)
    unread = {(one.key, one.reason) for one in result.unread}
    assert all(reason.remedy for _, reason in unread)
    assert {key for key, _ in unread} <= {one.key for one in result.servers}
    for one in result.servers:
        if one.gpus and one.skip_reason is not None and one.skip_reason.remedy:
            assert (one.key, one.skip_reason) in unread


@examples(200)
@given(strategy_hosts)
def test_no_endpoint_is_read_twice_or_elsewhere(simulated: RandomHost) -> None:
    """Each url once, at an address that no workload told, and never at a configured server's."""
    result = look(simulated)
    urls = [target.url for target in result.targets]
    assert len(urls) == len(set(urls))
    assert {one.url for one in result.servers if one.url} == set(urls)
    addresses = {(urlsplit(url).hostname, urlsplit(url).port) for url in urls}
    assert {host for host, _ in addresses} <= HOSTS
    taken = {("127.0.0.1", 8000), ("127.0.0.1", 8001)}
    configured = {
        taken_by
        for server in simulated.config.servers
        for taken_by in taken
        if f":{taken_by[1]}" in server.url
    }
    assert not addresses & configured


@examples(200)
@given(strategy_hosts)
def test_every_endpoint_can_be_made_a_source(simulated: RandomHost) -> None:
    """A source refuses what is no url; one that would would end the tick."""
    for target in look(simulated).targets:
        ServerSource(target, shared_client(), SystemClock()).close()


@examples(200)
@given(strategy_hosts)
def test_nobody_is_called_otherwise_because_of_what_a_pod_asks_for(simulated: RandomHost) -> None:
    """Pods that ask for nothing, and all that is in no pod, are called what they would be without."""
    modest = tuple(
        replace(one, pod_annotations=replace(one.pod_annotations, name=""))
        for one in simulated.snapshot.pods or ()
    )
    renamed = {
        f"{one.namespace}/{one.workload.name}"
        for one in simulated.snapshot.pods or ()
        if one.pod_annotations.name
    }
    pods = None if simulated.snapshot.pods is None else modest
    without = look(replace(simulated, snapshot=replace(simulated.snapshot, pods=pods))).servers
    for now, before in zip(look(simulated).servers, without, strict=True):
        if now.key != before.key:
            assert before.where in renamed
            assert now.key not in {one.key for one in without if one.where != before.where}


@examples(200)
@given(stories)
def test_no_dollar_and_no_second_is_lost(story: list[RandomHost]) -> None:
    """The books of any story of such hosts: each GPU's time and rent go to who holds it, whole.

    The meter checks on each tick that parts sum to the whole.
    """
    meter = CheckedMeter(cost_policy(rent("3.67")))
    before: DiscoveryResult = DiscoveryResult()
    now = NOW.elapsed
    meter.pass_by(0, tuple(gpu(number) for number in range(GPUS)))
    for simulated in story:
        now += simulated.elapsed
        before = find_servers(
            simulated.config, simulated.gpus, simulated.snapshot, ScanTime(now, BOOT + now), before.targets
        )
        meter.pass_by(
            simulated.elapsed,
            simulated.gpus,
            [served(target.key, target.url, now) for target in before.targets],
            (*configured.holders(simulated.config.servers, simulated.gpus), *before.holders),
            unknown_gpus=before.unknown_gpus,
            owners=before.owners,
        )
    passed = now - NOW.elapsed
    for number in range(GPUS):
        assert sum(time for (uuid, *_), time in meter.gpu_time.items() if uuid == f"GPU-{number}") == passed
        rent_due = Fraction("3.67") * DOLLAR * passed / (3600 * SECOND)
        assert meter.dollars(uuid=f"GPU-{number}") == int(rent_due)


@examples(200)
@given(strategy_hosts)
def test_no_name_is_of_two_users_by_what_they_claim(simulated: RandomHost) -> None:
    """Where neither a cluster nor an entry that binds it says so, a name is one user's."""
    snapshot = simulated.snapshot
    everybody = tenants(snapshot.groups or (), snapshot.given or (), snapshot.pods or (), simulated.gpus)
    users: dict[object, set[int | None]] = {}
    for one in name_servers(everybody, simulated.config.server_rules)[0]:
        group, rule = one.group, one.rule
        bound = rule is not None and rule.name is not None and bool(rule.match.user or rule.match.unit)
        named_by_workload = (
            rule is not None and rule.name is not None and (rule.match.workload or "").startswith("ml/")
        )
        if (
            group is not None
            and not one.tenant.workload
            and not group.pod
            and not bound
            and not named_by_workload
        ):
            users.setdefault(one.key, set()).add(group.user)
    assert [key for key, theirs in users.items() if len(theirs) > 1] == []


@examples(200)
@given(strategy_hosts)
def test_a_token_goes_nowhere_in_the_clear_but_to_a_pod_or_a_socket_of_this_host(
    simulated: RandomHost,
) -> None:
    """Whatever command lines, units and annotations say."""
    pods = {address for pod in simulated.snapshot.pods or () for address in pod.ips}
    listening = {
        listener.port
        for group in simulated.snapshot.groups or ()
        if group.server is not None and group.server.reach == "here"
        for listener in (() if group.sockets is None else group.sockets.listening)
    }
    for target in look(simulated).targets:
        where = urlsplit(target.url)
        if target.access.bearer_token_file is not None and where.scheme == "http":
            assert where.hostname in pods or where.port in listening


def served(key: object, url: str, now: int) -> ServerReading:
    """A page of a server that goes on."""
    return page(key, url=url, generation=now // SECOND)  # type: ignore[arg-type]
