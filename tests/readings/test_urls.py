"""Queries of URLs may hold secrets: their values are shown nowhere, and two of them stay two."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.readings import ServerKey, ServerReading, endpoint_id, masked, published

SECRET = "http://10.0.0.1:8000/metrics?api_key=SECRET"  # noqa: S105 - what a test looks for
SHOWN = "http://10.0.0.1:8000/metrics?api_key=***"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://a:1/metrics", "http://a:1/metrics"),
        (SECRET, SHOWN),
        ("http://a/m?x=1&api_key=S&y=", "http://a/m?x=***&api_key=***&y=***"),
        ("http://a/m?x=1;token=S", "http://a/m?x=***&token=***"),
        ("http://a/m?SECRET", "http://a/m?***"),
        ("http://a/m?SECRET&x=1", "http://a/m?***&x=***"),
        ("http://a/m?k=a=b?c", "http://a/m?k=***"),
        ("http://a/m?", "http://a/m?"),
        ("http://a/m?k=S#part", "http://a/m?k=***"),
        ("/metrics?k=S", "/metrics?k=***"),
        ("", ""),
    ],
)
def test_values_are_masked_and_names_kept(url: str, shown: str) -> None:
    """What is masked is masked already."""
    assert masked(url) == shown
    assert masked(shown) == shown


def test_an_endpoint_is_named_without_its_secret() -> None:
    """Two that differ in the query alone have two names; a name is its own name, and masks as its URL."""
    one, other = endpoint_id(SECRET), endpoint_id(SECRET + "2")

    assert re.fullmatch(re.escape(SHOWN) + "#[0-9a-f]{16}", one)
    assert one != other
    assert endpoint_id(one) == one
    assert masked(one) == SHOWN
    assert endpoint_id("http://a/metrics") == "http://a/metrics"


@pytest.mark.parametrize("url", [f"{SECRET}#0123456789abcdef", f"{SHOWN}#SECRET", f"{SHOWN}#0123"])
def test_what_only_looks_like_a_name_is_none(url: str) -> None:
    """A fragment that somebody wrote shows nothing of the query, and is shown nowhere itself."""
    assert "SECRET" not in endpoint_id(url)
    assert endpoint_id(endpoint_id(url)) == endpoint_id(url)


@given(st.text("ab&;=?# /", max_size=8), st.text(max_size=30), st.booleans())
@example("api_key", "S&S", False)
@example("a?b", "S", True)
def test_no_value_is_shown(name: str, value: str, fragment: bool) -> None:  # noqa: FBT001
    """Whatever it is made of, up to what begins the name of another value."""
    secret = f"5ecret{re.sub('[&;#]', '', value)}"
    url = f"http://host/metrics?{name.replace('#', '')}={secret}" + "#part" * fragment

    for shown in (masked(url), endpoint_id(url), published([reading("chat", endpoint_id(url))])[0].url):
        assert "5ecret" not in shown


def reading(server: str, url: str) -> ServerReading:
    """An endpoint of a server."""
    return ServerReading(ServerKey("", server), url, up=True)


def test_urls_of_one_server_that_would_be_equal_are_numbered() -> None:
    """Labels do not collide, whatever the order; another server's need no number."""
    urls = [endpoint_id(f"{SECRET}{number}") for number in range(3)]
    readings = [
        *(reading("chat", url) for url in urls),
        reading("other", urls[0]),
        reading("chat", "http://b/m"),
    ]
    shown = published(readings)

    assert sorted(one.url for one in shown[:3]) == [SHOWN, f"{SHOWN}#2", f"{SHOWN}#3"]
    assert [one.url for one in shown[3:]] == [SHOWN, "http://b/m"]
    again = {one.url for one in published(reversed(readings))}
    assert again == {one.url for one in shown}
    assert published(readings[:1] * 2)[1].url == SHOWN
