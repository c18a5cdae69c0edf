"""Whatever the bytes are, they are a configuration or a ConfigError."""

import re
from pathlib import Path

from generators.configuration import documentation
from hypothesis import given
from hypothesis import strategies as st

from exporter.config import ConfigError, parse
from tests.depth import examples

CONFIGS = Path(__file__).parents[1] / "configs"
SEEDS = tuple(path.read_bytes() for path in sorted(CONFIGS.glob("*.yaml")))
PIECES = st.sampled_from(
    [
        *(b"\n", b"\t", b" ", b"-", b":", b": ", b"[", b"]", b"{", b"}", b"'", b'"', b"&a", b"*a", b"!!int "),
        *(b"|\n", b">\n", b"? ", b"---\n", b"...\n", b"%YAML 1.2\n", b"<<: ", b"~", b"null", b"yes", b".nan"),
        *(b"1e999", b"1e-9999", b"-0", b"9" * 50, b"2026-02-30", b"9999-12-31", b"\xff", b"\xef\xbb\xbf"),
        *(b"\xc2\x85", b"\xe2\x80\xa8", b"http://[", b"://", b"@", b"%", b"#", b",", b"all", b"GPU-"),
    ]
)


def survives(data: bytes) -> None:
    """Parse; a refusal must say something, in lines that name the file."""
    refused: ConfigError | None = None
    try:
        parse(data, Path("ice.yaml"))
    except ConfigError as error:
        refused = error
    if refused:
        assert refused.problems
        assert all(line.startswith("ice.yaml") for line in str(refused).split("\n"))


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_in_words(data: bytes) -> None:
    """Noise never raises anything but a ConfigError."""
    survives(data)


@given(st.text(alphabet=st.sampled_from("abc:-[]{}'\"&*!|>%@#,? \n\t0123"), max_size=60))
def test_random_yaml_is_refused_in_words(text: str) -> None:
    """What nearly is YAML never raises anything but a ConfigError."""
    survives(text.encode())


@examples(300)
@given(st.data())
def test_mutated_files_are_refused_in_words(data: st.DataObject) -> None:
    """Files with pieces put in, taken out and swapped never raise anything but a ConfigError."""
    seed = data.draw(st.sampled_from(SEEDS))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(seed)))
        end = data.draw(st.integers(start, min(len(seed), start + 30)))
        seed = seed[:start] + data.draw(PIECES) + seed[end:]
    survives(seed)


VALUE = st.recursive(
    st.one_of(
        st.sampled_from(
            ["", "~", "yes", "0", "-1", "1e400", ".inf", "'x'", "all", "10s", "2026-01-01", "UTC"]
        ),
        st.sampled_from(
            ["http://h", "GPU-1", "*", "gpu", "fleet", "auto", "/x", "8", "99999999999999999999"]
        ),
    ),
    lambda inner: st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
    max_leaves=4,
)
KEYS = st.sampled_from(sorted(set(re.findall(r"^\| `(\w+)` \|", documentation(), re.MULTILINE))))
TREE = st.recursive(
    VALUE,
    lambda inner: st.one_of(
        st.dictionaries(KEYS, inner, max_size=5).map(
            lambda keys: "{" + ", ".join(f"{key}: {value}" for key, value in keys.items()) + "}"
        ),
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
    ),
    max_leaves=25,
)


@examples(300)
@given(TREE)
def test_known_keys_in_wrong_places_are_refused_in_words(tree: str) -> None:
    """Any value under any key never raises anything but a ConfigError."""
    survives(tree.encode())
