"""Engines of the configuration: what a good one becomes, and how a bad one is refused."""

from collections.abc import Callable

import pytest

from exporter.config import Config, parse
from exporter.config.settings import ServerMatch, ServerRule
from exporter.engines.spec import (
    Alternative,
    CacheGauge,
    Count,
    Engine,
    Fingerprint,
    Gauge,
    LatencyHistogram,
    MetadataQuery,
)

Refused = Callable[[bytes], list[str]]

WHOLE = b"""\
engines:
  - name: acme
    counters:
      - {name: acme_prompt_total, quantity: prompt, minus: acme_cached_total}
      - {name: acme_cached_total, quantity: cached_prompt}
      - {name: acme_out_total, quantity: generation, where: {kind: [text, audio], beam: ""},
         unless: {dry: "yes"}}
      - {name: acme_prefill_ms_total, quantity: prefill_seconds, scale_ratio: 0.001}
      - {name: acme_decode_ms_total, quantity: decode_seconds, scale_ratio: 0.001}
    models: [model, model_name]
    models_path: /v1/models
    running: {name: acme_slots, where: {state: busy}}
    waiting: {name: acme_queue}
    max_running: {name: acme_slots_max}
    kv_cache: {name: acme_blocks_used, capacity: acme_blocks}
    first_token: {name: acme_ttft_seconds}
    per_token: {name: acme_itl_seconds, basis: tokens}
    repeated: [tp_rank]
    port: 9000
    path: /stats
servers:
  - {match: {process: "acme*"}, engine: acme}
  - {name: a, url: "http://127.0.0.1:9000", gpus: all, engine: acme}
"""

ACME = Engine(
    name="acme",
    prefix="",
    default_port=9000,
    default_path="/stats",
    fingerprint=Fingerprint(("acme_prompt_total", "acme_cached_total", "acme_out_total")),
    groups=(
        (
            Alternative(
                ("acme_prompt_total",),
                (Count("acme_prompt_total", "prompt"), Count("acme_cached_total", "prompt", sign=-1)),
            ),
        ),
        (Alternative(("acme_cached_total",), (Count("acme_cached_total", "cached_prompt"),)),),
        (
            Alternative(
                ("acme_out_total",),
                (
                    Count(
                        "acme_out_total",
                        "generation",
                        where=(("kind", ("text", "audio")), ("beam", ("",))),
                        unless=(("dry", ("yes",)),),
                    ),
                ),
            ),
        ),
        (
            Alternative(
                ("acme_prefill_ms_total", "acme_decode_ms_total"),
                (
                    Count("acme_prefill_ms_total", "prefill_seconds", scale=0.001),
                    Count("acme_decode_ms_total", "decode_seconds", scale=0.001),
                ),
            ),
        ),
    ),
    model_labels=("model", "model_name"),
    metadata_queries=(MetadataQuery("v1/models", model=("data", 0, "id")),),
    running=(Gauge("acme_slots", (("state", ("busy",)),)),),
    waiting=(Gauge("acme_queue"),),
    max_running=(Gauge("acme_slots_max"),),
    kv_cache=(CacheGauge("acme_blocks_used", capacity="acme_blocks"),),
    first_token=(LatencyHistogram("acme_ttft_seconds"),),
    per_token=(LatencyHistogram("acme_itl_seconds", "tokens"),),
    repeated=frozenset({"tp_rank"}),
    series_appear_late=True,
)


def test_an_engine_has_the_form_of_the_built_in_ones() -> None:
    """Each key is a field of `Engine`; the seconds of both phases count together or not at all."""
    config = parse(WHOLE)

    assert config.engines == (ACME,)
    assert Config().engines == ()


def test_servers_may_name_it() -> None:
    """One that is found gets its port and path, which its own keys precede; a url has both."""
    config = parse(WHOLE)

    assert config.server_rules == (
        ServerRule(ServerMatch(process="acme*"), engine="acme", engine_port=9000, metrics_path="/stats"),
    )
    assert config.servers[0].engine == "acme"
    own = WHOLE.replace(b"engine: acme}\n  - {name: a", b"engine: acme, metrics: {path: /m}}\n  - {name: a")
    assert parse(own).server_rules[0].metrics_path == "/m"


COUNTERS = "counters: [{name: x_total, quantity: prompt}]"


@pytest.mark.parametrize(
    ("engine", "expected"),
    [
        (f"name: vllm, {COUNTERS}", '1:18: engines[0].name: "vllm" is reserved; choose another engine name'),
        (
            f"name: ollama, {COUNTERS}",
            '1:18: engines[0].name: "ollama" is reserved; choose another engine name',
        ),
        (
            "name: x",
            "1:11: engines[0]: counters is missing: what it counts",
        ),
        (
            "name: x, counters: []",
            "1:31: engines[0].counters: has 0 items; it takes 1 to 1000",
        ),
        (
            "name: x, counters: [{name: 'x{a=\"b\"}', quantity: prompt}]",
            (
                '1:39: engines[0].counters[0].name: "x{a="b"}" is no metric name; copy it from the page, '
                "without braces and labels"
            ),
        ),
        (
            "name: x, counters: [{name: x, quantity: prompts}]",
            (
                '1:52: engines[0].counters[0].quantity: "prompts" is not one of prompt, cached_prompt, '
                "generation, requests, preemptions, prefill_seconds, decode_seconds, decode_request_seconds; "
                "did you mean prompt?"
            ),
        ),
        (
            "name: x, counters: [{name: x, quantity: prompt, where: {}}]",
            (
                "1:67: engines[0].counters[0].where: must be a mapping of labels to values, "
                "like {source: [prompt, image]}, not an empty mapping"
            ),
        ),
        (
            "name: x, counters: [{name: x, quantity: prompt, where: {a-b: c}}]",
            '1:68: engines[0].counters[0].where.a-b: "a-b" is no label of a metric',
        ),
        (
            "name: x, counters: [{name: x, quantity: prompt, where: {a: []}}]",
            "1:71: engines[0].counters[0].where.a: needs a value or list of 1 to 64, not a list",
        ),
        (
            "name: x, counters: [{name: x, quantity: prompt, where: {a: [[b]]}}]",
            "1:71: engines[0].counters[0].where.a: needs a value or list of 1 to 64, not a list",
        ),
        (
            "name: x, counters: [{name: x, quantity: requests}]",
            "1:31: engines[0].counters: has no prompt and no generation; a price per token needs one of them",
        ),
        (
            "name: x, counters: [{name: x, quantity: prompt}, {name: x, quantity: prompt}]",
            "1:31: engines[0].counters: [1] counts x as prompt again; give its values in one where",
        ),
        (
            "name: x, counters: [{name: x, quantity: prompt}, {name: y, quantity: decode_seconds}]",
            (
                "1:31: engines[0].counters: has seconds of one phase; give prefill_seconds and one of "
                "the two for decode, or none"
            ),
        ),
        (
            "name: x, counters: [{name: x, quantity: prompt, scale_ratio: 0}]",
            '1:73: engines[0].counters[0].scale_ratio: "0" is out of range: ratio, above 0, up to 1000',
        ),
        (
            f"name: x, {COUNTERS}, models: ['a.b']",
            '1:77: engines[0].models[0]: "a.b" is no label; write letters, digits and underscores',
        ),
        (
            f"name: x, {COUNTERS}, path: metrics",
            '1:74: engines[0].path: "metrics" is no path; begin it with one /, as in /metrics',
        ),
        (
            f"name: x, {COUNTERS}, models_path: //evil/v1",
            '1:81: engines[0].models_path: "//evil/v1" is no path; begin it with one /, as in /metrics',
        ),
        (
            f"name: x, {COUNTERS}, runing: {{name: y}}",
            "1:68: engines[0].runing: unknown key; did you mean running?",
        ),
    ],
)
def test_a_bad_engine_is_refused_with_its_place(refused: Refused, engine: str, expected: str) -> None:
    """File, line, column, key, reason and remedy."""
    assert refused(f"engines: [{{{engine}}}]\n".encode()) == [f"ice.yaml:{expected}"]


AS_PROMPT, AS_GENERATION = "{name: x, quantity: prompt", "{name: x, quantity: generation"


@pytest.mark.parametrize(
    ("prompt", "generation"),
    [
        ("", ""),
        ("", "where: {t: out}"),
        ("where: {t: [in, both]}", "where: {t: [both, out]}"),
        ("where: {t: in}", "where: {u: out}"),
        ("unless: {t: out}", "where: {t: [out, in]}"),
        ("unless: {t: out, u: a}", "where: {t: out}"),
        ("unless: {t: out}", "unless: {t: in}"),  # one without t counts as both
    ],
)
def test_a_series_counts_as_one_kind_of_tokens(refused: Refused, prompt: str, generation: str) -> None:
    """Else each of its tokens would be charged as two."""
    counters = f"{AS_PROMPT}, {prompt}}}, {AS_GENERATION}, {generation}}}"
    (problem,) = refused(f"engines: [{{name: x, counters: [{counters}]}}]\n".replace(", }", "}").encode())
    assert problem == (
        "ice.yaml:1:31: engines[0].counters: [1] counts series of x that [0] counts as prompt; give both "
        "a where that tells them apart"
    )


@pytest.mark.parametrize(
    ("prompt", "generation"),
    [
        ("where: {t: in}", "where: {t: [out, more]}"),
        ("where: {t: in, u: a}", "where: {t: in, u: b}"),
        ("where: {t: [in, out]}, unless: {t: out}", "where: {t: out}"),
        ("unless: {t: out}", "where: {t: out}"),
        ("where: {t: in}", "unless: {t: [in, dry]}"),
        ("where: {t: in, u: a}", "unless: {t: in, u: a}"),
        ("where: {t: [a, b]}, unless: {t: a}", "unless: {t: b}"),
    ],
)
def test_one_name_may_count_several_kinds_of_tokens(prompt: str, generation: str) -> None:
    """By labels, as the cached part of a prompt that is subtracted from it counts alone."""
    counters = f"{AS_PROMPT}, {prompt}}}, {AS_GENERATION}, {generation}}}"
    cached = "{name: whole, quantity: prompt, minus: y}, {name: y, quantity: cached_prompt}"
    (engine,) = parse(f"engines: [{{name: x, counters: [{counters}, {cached}]}}]\n".encode()).engines
    assert [count.quantity for count in engine.counts()] == [
        "prompt",
        "generation",
        "prompt",
        "prompt",
        "cached_prompt",
    ]


def test_a_name_is_of_one_engine(refused: Refused) -> None:
    """Two of one name would be read as the first."""
    one = f"{{name: x, {COUNTERS}}}"
    assert refused(f"engines: [{one}, {one}]\n".encode()) == [
        'ice.yaml:1:76: engines[1].name: "x" is already given by engines[0]; choose another'
    ]


def test_a_server_names_an_engine_that_there_is(refused: Refused) -> None:
    """Described ones are listed with the built-in ones; a broken description is still one."""
    text = f"engines: [{{name: acme, {COUNTERS}}}]\nservers: [{{match: {{port: 1}}, engine: exllama}}]\n"
    (line,) = refused(text.encode())
    assert line.startswith('ice.yaml:2:38: servers[0].engine: "exllama" is not one of aphrodite, ')
    assert line.endswith(", xinference, acme; describe it under `engines`")

    broken = "engines: [{name: acme}]\nservers: [{match: {port: 1}, engine: acme}]\n"
    assert refused(broken.encode()) == ["ice.yaml:1:11: engines[0]: counters is missing: what it counts"]
