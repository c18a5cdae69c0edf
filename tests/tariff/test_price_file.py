"""Price files: what is taken, what is refused by line and column, and that nothing of a bad one is taken."""

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.readings import HostLocation
from exporter.tariff import quotes
from exporter.tariff.catalogue import CATALOGUE, Catalogue
from exporter.tariff.price_file import (
    HEADER,
    MOST_BYTES,
    MOST_ROWS,
    PriceFileError,
    age_warning,
    instant,
    price_file,
)
from exporter.tariff.quotes import NoQuote, Quote
from exporter.tariff.terms import Listed

TODAY = date(2026, 11, 28)
HEAD = ",".join(HEADER)
P5 = "aws,p5.48xlarge,H100-SXM5-80GB,8,ap-southeast-3,75.9552,,USD,listed,2026-11-24,price-list"
HOME = "aws,p5.48xlarge,H100-SXM5-80GB,8,us-east-1,50,20,USD,listed,2026-11-01,price-list"


def problems(*lines: str, header: str = HEAD) -> tuple[str, ...]:
    """What is said of a file with these lines."""
    with pytest.raises(PriceFileError) as refused:
        price_file("\n".join((header, *lines)).encode(), TODAY)
    return refused.value.problems


def test_a_file_replaces_the_bundled_list_whole() -> None:
    """Its row is a list's; what it lacks is not taken from the package."""
    actual = price_file(f"{HEAD}\n{P5}\n{HOME}\n".encode(), TODAY)
    catalogue = Catalogue(price_file=actual)
    here = quotes.find_quote(catalogue, HostLocation("aws", "p5.48xlarge", "ap-southeast-3"), Listed())
    other = quotes.find_quote(catalogue, HostLocation("gcp", "a3-highgpu-8g", "us-central1"), Listed())

    assert (actual.rows, actual.newest) == (2, "2026-11-24")
    assert isinstance(here, Quote)
    assert (here.price_basis, here.dollars_per_hour, here.as_of) == (
        "catalogue",
        Decimal("75.9552"),
        "2026-11-24",
    )
    assert here.source == "aws p5.48xlarge ap-southeast-3 on demand (price-list)"
    assert other == NoQuote("it does not have the gcp instance type a3-highgpu-8g")
    assert not catalogue.bundled


def test_the_lowest_large_cloud_is_that_of_the_file() -> None:
    """50 / 8 = 6.25 dollars; of the package it would be 6.88. Prices of GPU clouds are the package's."""
    catalogue = Catalogue(price_file=price_file(f"{HEAD}\n{HOME}\n".encode()))
    actual = quotes.find_quote(catalogue, HostLocation("gcp", "a9-megagpu-8g"), None, "NVIDIA H100 80GB HBM3")
    market = catalogue.market("H100-SXM5-80GB")

    assert isinstance(actual, Quote)
    assert (actual.dollars_per_hour, actual.as_of) == (Decimal("6.25"), "2026-11-01")
    assert market is not None
    assert market.dollars == Decimal("3.875")


def test_the_market_prices_a_known_type_by_the_gpus_of_the_catalogue() -> None:
    """A file with its spot price alone leaves the market: 8 x 3.875 dollars, whatever NVML shows."""
    row = HOME.replace(",50,20,USD,listed,", ",,20,USD,,")
    catalogue = Catalogue(price_file=price_file(f"{HEAD}\n{row}\n".encode()))
    for gpu in ("NVIDIA H100 80GB HBM3", "NVIDIA L4", ""):
        actual = quotes.find_quote(catalogue, HostLocation("aws", "p5.48xlarge", "us-east-1"), None, gpu)

        assert isinstance(actual, Quote)
        assert (actual.dollars_per_hour, actual.devices) == (Decimal(31), 8)
        assert actual.instance_gpu == "H100-SXM5-80GB"
        assert actual.source.startswith("median list price of H100-SXM5-80GB at crusoe, ")


def test_a_scaled_row_of_a_file_is_an_estimate() -> None:
    """Whoever made the file says so."""
    row = HOME.replace("listed", "scaled")
    catalogue = Catalogue(price_file=price_file(f"{HEAD}\n{row}\n".encode()))
    actual = quotes.find_quote(catalogue, HostLocation("aws", "p5.48xlarge", "us-east-1"), Listed())

    assert isinstance(actual, Quote)
    assert (actual.price_basis, actual.derivation) == ("estimate", "scaled")


def test_a_spreadsheets_way_of_writing_csv_is_read() -> None:
    """A byte order mark, CRLF, quotes, blanks and empty lines change nothing."""
    quoted = ",".join(f'" {field} "' for field in P5.split(","))
    text = f"\ufeff{HEAD}\r\n\r\n{quoted}\r\n"

    assert price_file(text.encode(), TODAY) == price_file(f"{HEAD}\n{P5}\n".encode(), TODAY)


def test_catalogues_are_equal_by_their_prices() -> None:
    """A reload of the same file changes no tariff."""
    one, same, other = (
        Catalogue(price_file=price_file(f"{HEAD}\n{row}\n".encode())) for row in (P5, P5, HOME)
    )

    assert one == same
    assert hash(one) == hash(same)
    assert one not in {other, CATALOGUE}
    assert (Catalogue() == CATALOGUE, Catalogue() == "bundled") == (True, False)


def with_field(column: str, value: str) -> str:
    """The row with another field."""
    fields = dict(zip(HEADER, HOME.split(","), strict=True))
    return ",".join({**fields, column: value}.values())


NO_PRICE = (
    "is no price above 0 and up to 100000 dollars an hour of the whole instance, like 55.04; leave it empty "
    "where none is listed"
)


@pytest.mark.parametrize(
    ("column", "value", "why"),
    [
        ("cloud", "AWS", "is not one of aws, azure, gcp, nebius, oci"),
        ("cloud", "", "is not one of aws, azure, gcp, nebius, oci"),
        ("instance_type", "", "is no name of an instance type"),
        ("instance_type", "=HYPERLINK(x)", "is no name of an instance type"),
        ("instance_type", "a" * 65, "is no name of an instance type"),
        ("gpu_model", "H100 80GB", "is no name of a GPU model"),
        ("gpus", "0", "is no count from 1 to 1024, nor a part of one GPU like 1/8"),
        ("gpus", "1.5", "is no count from 1 to 1024, nor a part of one GPU like 1/8"),
        ("gpus", "3/2", "is no count from 1 to 1024, nor a part of one GPU like 1/8"),
        ("gpus", "1/0", "is no count from 1 to 1024, nor a part of one GPU like 1/8"),
        ("gpus", "9999", "is no count from 1 to 1024, nor a part of one GPU like 1/8"),
        ("region", "US East", "is no region as its cloud spells it, nor * for all of them"),
        ("region", "", "is no region as its cloud spells it, nor * for all of them"),
        ("on_demand", "0", NO_PRICE),
        ("on_demand", "-55.04", NO_PRICE),
        ("on_demand", "55,04", NO_PRICE),
        ("on_demand", "$55.04", NO_PRICE),
        ("on_demand", "5e1", NO_PRICE),
        ("on_demand", "NaN", NO_PRICE),
        ("on_demand", "Infinity", NO_PRICE),
        ("on_demand", "100001", NO_PRICE),
        ("on_demand", "\u0665\u0665", NO_PRICE),
        ("on_demand", "55.1234567891", NO_PRICE),
        ("spot", "0.00", NO_PRICE),
        ("spot", "50", "is not below on_demand; leave it empty where it is not known"),
        ("currency", "CNY", "is not USD; convert the prices"),
        ("currency", "", "is not USD; convert the prices"),
        ("basis", "catalogue", "is neither listed nor scaled"),
        ("as_of", "24.11.2026", "is no date like 2026-11-24 or 2026-11"),
        ("as_of", "2026-02-30", "is no date like 2026-11-24 or 2026-11"),
        ("as_of", "", "is no date like 2026-11-24 or 2026-11"),
        ("as_of", "2026-11-29", "is in the future"),
        ("as_of", "2026-12", "is in the future"),
        (
            "source",
            "Price List",
            "is no short name like price-list: small letters, digits and dashes, up to 24",
        ),
        ("source", "a" * 25, "is no short name like price-list: small letters, digits and dashes, up to 24"),
    ],
)
def test_a_bad_field_is_said_by_line_and_column(column: str, value: str, why: str) -> None:
    """What it is and what to write; a comma within a field stands in quotes."""
    row = with_field(column, f'"{value}"' if "," in value else value)

    assert problems(P5, row) == (f"line 3, {column}: {value[:40]!r} {why}",)


def test_a_date_of_today_is_not_ahead() -> None:
    """Nor is this month; without a clock no date is."""
    for as_of in ("2026-11-28", "2026-11"):
        assert price_file(f"{HEAD}\n{with_field('as_of', as_of)}\n".encode(), TODAY).newest == as_of
    assert price_file(f"{HEAD}\n{with_field('as_of', '2030-01-01')}\n".encode()).newest == "2030-01-01"


@pytest.mark.parametrize(
    ("lines", "reported"),
    [
        ((), "it has no row"),
        (("",), "it has no row"),
        ((HOME, HOME), "line 3, region: 'us-east-1' is given for this type on line 2 already"),
        (
            (HOME, HOME.replace("p5.48xlarge", "P5.48XLARGE")),
            "line 3, region: 'us-east-1' is given for this type on line 2 already",
        ),
        (
            (P5, HOME.replace(",8,", ",4,")),
            "line 3, gpus: '4' is 8 on line 2; a type has one count in all regions",
        ),
        (
            (P5, HOME.replace("H100-SXM5-80GB", "H200-SXM-141GB")),
            (
                "line 3, gpu_model: 'H200-SXM-141GB' is H100-SXM5-80GB on line 2; a type has one model in "
                "all regions"
            ),
        ),
        (
            (HOME.replace(",50,20,", ",,,"),),
            "line 2, basis: 'listed' needs a price on demand; leave",
        ),
        ((HOME + ",x",), "line 2: it has 12 columns, not 11"),
        ((HOME.replace(",8,", ","),), "line 2: it has 10 columns, not 11"),
        (('"' + HOME,), "line 2: it is not CSV: unexpected end of data"),
        ((HOME + "\x00",), "line 2: it has a control character; save it as plain CSV"),
        ((HOME.replace("us-east", "us\u2028east"),), "line 2: it has a control character"),
    ],
)
def test_a_bad_file_is_refused(lines: tuple[str, ...], reported: str) -> None:
    """With what is wrong first, and where."""
    (problem,) = problems(*lines)
    assert problem.startswith(reported)


def test_another_header_is_refused() -> None:
    """The columns and their order are the form; a semicolon is no comma."""
    for header in ("", "cloud,instance_type", HEAD.replace(",", ";"), HEAD.replace("spot", "Spot")):
        assert problems(HOME, header=header) == (f"line 1: the header must be {HEAD}",)


def test_bytes_that_are_no_text_are_refused() -> None:
    """UTF-16, as some spreadsheets save; what is too large; nothing at all."""
    with pytest.raises(PriceFileError, match=r"line 2: it is not UTF-8; save it as CSV in UTF-8"):
        price_file(f"{HEAD}\n".encode() + b"\xff\xfe")
    with pytest.raises(PriceFileError, match=f"it is larger than {MOST_BYTES} bytes"):
        price_file(b"x" * (MOST_BYTES + 1))
    with pytest.raises(PriceFileError, match="line 1: the header must be"):
        price_file(b"")


def test_rows_and_problems_are_bounded() -> None:
    """20,000 rows; twenty problems, and how many more."""
    row = "gcp,g2-standard-4,L4,1,r{},1,,USD,listed,2026-11,x"
    many = "\n".join((HEAD, *(row.format(number) for number in range(MOST_ROWS + 1))))
    with pytest.raises(PriceFileError, match=f"line {MOST_ROWS + 2}: it has more than {MOST_ROWS} rows"):
        price_file(many.encode())
    reported = problems(*(with_field("currency", "EUR") for _ in range(30)))

    assert len(reported) == 21
    assert reported[-1].startswith("and ")


def test_a_price_that_cannot_be_meant_is_refused_with_what_it_may_be() -> None:
    """By what one whole GPU costs: 8 GPUs at 4000 dollars are 500 each, an eighth at 1 is 8."""
    requested: list[tuple[str, Decimal]] = []

    def doubt(model: str, dollars: Decimal) -> str:
        requested.append((model, dollars))
        return "the price of a month" if dollars > 100 else ""

    rows = (with_field("on_demand", "4000"), "aws,g6f.large,L4,1/8,us-east-1,1,,USD,listed,2026-11,x")
    with pytest.raises(PriceFileError) as refused:
        price_file("\n".join((HEAD, *rows)).encode(), TODAY, doubt)

    assert refused.value.problems == ("line 2, on_demand: '4000' is the price of a month",)
    assert requested == [("H100-SXM5-80GB", Decimal(500)), ("L4", Decimal(8))]


@given(st.binary(max_size=400))
def test_no_bytes_break_it(data: bytes) -> None:
    """Whatever stands in a file, it is a list of prices or refused with a reason."""
    for whole in (data, f"{HEAD}\n".encode() + data, f"{HEAD}\n{HOME}\n".encode() + data):
        reported: tuple[str, ...] = ()
        actual = None
        try:
            actual = price_file(whole)
        except PriceFileError as error:
            reported = error.problems
        assert (actual is None) is bool(reported)


def test_ages_are_counted_from_the_day_or_the_month() -> None:
    """1970-01-02 begins a day after the epoch."""
    day = 24 * 3600 * 10**9

    assert [instant(text) for text in ("1970-01-02", "1970-02", "no date")] == [day, 31 * day, None]
    assert (age_warning(None, day), age_warning(day, day)) == ("", "")
    assert age_warning(0, 180 * day) == ""
    assert age_warning(0, 181 * day).startswith("The newest list of instance prices is 181 days old.")
