"""Validators of single values: numbers, words, patterns, durations, paths, users."""

import difflib
import os
import pwd
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Final, Generic, Protocol, TypeAlias, TypeVar
from zoneinfo import ZoneInfo

from exporter import vendors
from exporter.config.document import Mapping, Node, Scalar, Sequence
from exporter.config.problems import RefusedError, shown
from exporter.readings import LABEL_CHARACTERS, label
from exporter.tariff.catalogue import CATALOGUE, Catalogue
from exporter.units import NANOSECONDS_PER_SECOND, Nanoseconds

MOST_DECIMALS: Final = 30
"""More decimals than a person writes."""

DOLLAR_DECIMALS: Final = 12
"""The ledger counts picodollars."""

PERCENT: Final = "if it is in percent, divide it by 100"
"""Remedy for a ratio above 1; for a whole one from 2 to 100 the error has the quotient."""

WHOLE_PERCENT: Final = range(2, 101)
"""Numbers that are meant in percent: 1.2 is rather a ratio of a surcharge."""

DIGITS: Final = "write the digits only, with a point for decimals"
"""Remedy for a number in a form that several people read differently."""

SIMILAR: Final = 0.75
"""Similarity from which on a word is suggested."""

PATTERN_CHARACTERS: Final = 256
PATH_CHARACTERS: Final = 4096

_NUMBER = re.compile(r"[+-]?(?:\d{1,40}(?:\.\d{0,40})?|\.\d{1,40})(?:[eE][+-]?\d{1,4})?", re.ASCII)
_LEADING_ZERO = re.compile(r"[+-]?0\d", re.ASCII)
_AMOUNT = re.compile(
    r"(?P<currency>\$?) ?(?P<digits>(?:[1-9]\d{0,14}|[1-9]\d{0,2}(?:_\d{3}){1,4}|0)(?:\.\d{1,12})?) ?"
    r"(?P<suffix>[kKmM%]?)",
    re.ASCII,
)
_MULTIPLES: Final = {"k": 1000, "m": 1_000_000}
_OTHER_CURRENCY = re.compile(r"[€£¥₹]|\b(?:EUR|GBP|CHF|JPY|CNY|INR)\b", re.IGNORECASE)
_DURATION = re.compile(r"(\d{1,9})(ms|s|m)", re.ASCII)
_LOOSE_DURATION = re.compile(r"(0|[1-9]\d{0,5}) ?(ms|s|m)?", re.ASCII)
_TRUTHS: Final = {
    **dict.fromkeys(("true", "yes", "on", "y", "1"), "true"),
    **dict.fromkeys(("false", "no", "off", "n", "0"), "false"),
}
_NANOSECONDS: Final = {
    "ms": NANOSECONDS_PER_SECOND // 1000,
    "s": NANOSECONDS_PER_SECOND,
    "m": 60 * NANOSECONDS_PER_SECOND,
}
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}", re.ASCII)

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Context:
    """What the values of a file depend on."""

    zone: ZoneInfo
    """The zone of local times and dates."""
    catalogue: Catalogue = CATALOGUE
    """The list prices in force."""
    folder: Path = Path()
    """The folder of the file: relative paths begin in it."""


class Validator(Protocol[T_co]):
    """Reads one kind of value."""

    @property
    def expected(self) -> str:
        """The kind of value in words: "number from 0 to 1"."""
        ...

    def read(self, node: Node, context: Context, /) -> T_co:
        """The value of a node.

        Raises:
            RefusedError: it cannot be used; the message has the reason and the remedy.
            LocatedError: a part of it cannot be used.
        """
        ...


@dataclass(frozen=True, slots=True)
class Custom(Generic[T_co]):
    """A kind of value that a function reads from its node."""

    expected: str
    """As `Validator.expected`."""
    read: Callable[[Node, Context], T_co]
    """As `Validator.read`."""


@dataclass(frozen=True, slots=True)
class Text(Generic[T_co]):
    """A kind of value that a function reads from the text of a scalar."""

    expected: str
    """As `Validator.expected`."""
    parse: Callable[[Scalar], T_co]
    """The value of what was written; it raises `RefusedError`."""
    like: str = ""
    """An example, where `expected` alone says too little."""

    def read(self, node: Node, _: Context) -> T_co:
        """As `Validator.read`."""
        return self.parse(scalar(node, f"{self.expected} like {self.like}" if self.like else self.expected))


def matching(
    expected: str,
    matches: Callable[[str], object],
    form: str,
    made: Callable[[str], T],
    *,
    like: str = "",
    reserved: tuple[str, ...] = (),
) -> Text[T]:
    """A text of one form, and the value that is made of it.

    `form` has the form in words, or the remedy, with the punctuation before it. `reserved` words have a
    meaning of their own.
    """

    def parse(written: Scalar) -> T:
        text = written.text
        if not matches(text):
            raise RefusedError(f"{shown(text)} is no {expected}{form}")
        if text in reserved:
            raise RefusedError(f"{shown(text)} is reserved; choose another {expected}")
        return made(text)

    return Text(expected, parse, like)


def safe_name(expected: str, reserved: tuple[str, ...] = ()) -> Text[str]:
    """A word that is safe as a label's value and in a query."""
    form = ": a letter, then letters, digits, _ and -, at most 64"
    return matching(expected, _NAME.fullmatch, form, str, reserved=reserved)


def scalar(node: Node, expected: str) -> Scalar:
    """The node, if a single value was written."""
    if not isinstance(node, Scalar) or node.empty:
        article = "an" if expected[0] in "aeiou" else "a"
        raise RefusedError(f"must be {article} {expected}, not {describe(node)}")
    return node


def describe(node: Node) -> str:
    """A node in words, for "must be this, not ..."."""
    if isinstance(node, Mapping):
        return "a mapping"
    if isinstance(node, Sequence):
        return "a list"
    return "nothing (remove the key or give it a value)" if node.empty else shown(node.text)


@dataclass(frozen=True, slots=True)
class Number:
    """An exact decimal in [low, high], read from its digits and never through a float."""

    unit: str
    """The unit in words; an error proposes a number with `$` for dollars only, and with % for ratio only."""
    high: Decimal
    """The greatest value."""
    low: Decimal = Decimal(0)
    """The least value."""
    above_low: bool = False
    """Whether the least value itself is refused."""
    decimals: int = MOST_DECIMALS
    """The most decimals."""
    excess: str = ""
    """The remedy for a value above the greatest."""
    per: str = ""
    """What the unit is per, like hour; empty for the unit alone."""

    @property
    def expected(self) -> str:
        """The unit and the bounds."""
        unit = f"{self.unit} per {self.per}" if self.per else self.unit
        least = f"above {plain(self.low)}, up to" if self.above_low else f"{plain(self.low)} to"
        return f"{unit}, {least} {plain(self.high)}"

    def read(self, node: Node, _: Context) -> Decimal:
        """As `Validator.read`."""
        written = scalar(node, f"number ({self.expected})")
        value = number(written, f"number ({self.expected})", self.unit, self._within)
        if not self._within(value):
            reason = f"{shown(written.text)} is out of range: {self.expected}"
            if self.excess == PERCENT and value > self.high and value in WHOLE_PERCENT:
                ratio = ratio_of_percent(written.text)
                raise RefusedError(reason, f"if it is in percent, write {ratio}", instead=ratio)
            raise RefusedError(reason, self.excess if value > self.high else "")
        exponent = value.normalize().as_tuple().exponent
        if isinstance(exponent, int) and -exponent > self.decimals:
            raise RefusedError(f"{shown(written.text)} has more than {self.decimals} decimals; round it")
        return value

    def _within(self, value: Decimal) -> bool:
        return self.low <= value <= self.high and not (self.above_low and value == self.low)


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number in [low, high]."""

    unit: str
    """The unit in words, like GPUs."""
    low: int
    """The least value."""
    high: int
    """The greatest value."""

    @property
    def expected(self) -> str:
        """The unit and the bounds."""
        return f"{self.unit}, {self.low} to {self.high}"

    def read(self, node: Node, _: Context) -> int:
        """As `Validator.read`."""
        expected = f"whole number ({self.expected})"
        written = scalar(node, expected)
        value = number(written, expected, self.unit, self._within)
        if value != value.to_integral_value():
            raise RefusedError(f"{shown(written.text)} is not a {expected}")
        if not self._within(value):
            raise RefusedError(f"{shown(written.text)} is out of range: {self.expected}")
        return int(value)

    def _within(self, value: Decimal) -> bool:
        return self.low <= value <= self.high and value == value.to_integral_value()


Port: TypeAlias = Annotated[int, Whole("port", 1, 65535)]


@dataclass(frozen=True, slots=True)
class Label:
    """Text that becomes a label's value as it is: printable, not empty, no spaces around it."""

    expected: str
    """As `Validator.expected`."""
    reserved: tuple[str, ...] = ()
    """Words that have a meaning of their own in metrics."""
    exact: bool = False
    """Whether a pattern is refused."""
    reserved_beginning: str | None = None
    """The beginning of words that have a meaning of their own in metrics."""

    def read(self, node: Node, _: Context) -> str:
        """As `Validator.read`."""
        text = scalar(node, self.expected).text
        if not text or text != text.strip():
            raise RefusedError(f"{shown(text)} is empty or has spaces around it; write a {self.expected}")
        if text != label(text):
            message = f"has control characters or is longer than {LABEL_CHARACTERS} characters"
            raise RefusedError(f"{shown(text)} {message}")
        if text in self.reserved:
            raise RefusedError(f"{shown(text)} is reserved; choose another {self.expected}")
        if self.reserved_beginning is not None and text.startswith(self.reserved_beginning):
            raise RefusedError(f"{shown(text)} begins with a reserved prefix; choose another {self.expected}")
        if self.exact and has_wildcards(text):
            raise RefusedError(f"{shown(text)} looks like a pattern; this is matched exactly")
        return text


def has_wildcards(pattern: str) -> bool:
    """Whether a shell-style pattern may match more than its own text."""
    return any(character in pattern for character in "*?[")


def printable(most: int) -> Callable[[str], bool]:
    """Whether a text has 1 to `most` characters, all printable."""
    return lambda text: 0 < len(text) <= most and text.isprintable()


PATTERN: Final = matching(
    "pattern", printable(PATTERN_CHARACTERS), f": 1 to {PATTERN_CHARACTERS} printable characters", str
)
"""A shell-style pattern: * any text, ? one character, [ab] one of these. Case counts."""

PatternText: TypeAlias = Annotated[str, PATTERN]

W_co = TypeVar("W_co", bound=str, covariant=True)


@dataclass(frozen=True, slots=True)
class Choice(Generic[W_co]):
    """One of a few words."""

    options: tuple[W_co, ...]
    """The words."""
    remedy: str = ""
    """What to do where a word is like none of them."""

    @property
    def expected(self) -> str:
        """The words."""
        return " or ".join(self.options)

    def read(self, node: Node, _: Context) -> W_co:
        """As `Validator.read`."""
        written = scalar(node, f"word ({self.expected})")
        # YAML 1.1 reads a plain `off` as false, and tools that rewrite a file by it, like Helm, write false.
        is_off = "off" in self.options and written.plain and written.text == "false"
        text = "off" if is_off else written.text
        for option in self.options:
            if option == text:
                return option
        reason = f"{shown(written.text)} is not one of {', '.join(self.options)}"
        same = [option for option in self.options if _letters(option) == _letters(text)]
        if len(same) == 1:
            raise RefusedError(reason, instead=written.restyled(same[0]))
        similar = difflib.get_close_matches(text.lower(), self.options, 1, SIMILAR)
        raise RefusedError(reason, f"did you mean {similar[0]}?" if similar else self.remedy)


def _letters(text: str) -> str:
    """A word without case, spaces and punctuation."""
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _truth(written: Scalar) -> bool:
    if written.text not in {"true", "false"}:
        instead = _TRUTHS.get(written.text.lower())
        raise RefusedError(f"{shown(written.text)} is neither true nor false", instead=instead)
    return written.text == "true"


TRUTH: Final = Text("true or false", _truth)
"""The word true or false, as YAML 1.2 has it."""


@dataclass(frozen=True, slots=True)
class Duration:
    """A whole number with its unit: 500ms, 10s, 1m."""

    least: str
    """The shortest."""
    most: str
    """The longest."""

    @property
    def expected(self) -> str:
        """The bounds."""
        return f"duration, {self.least} to {self.most}"

    def read(self, node: Node, _: Context) -> Nanoseconds:
        """As `Validator.read`."""
        written = scalar(node, self.expected)
        text = written.text
        loose = _LOOSE_DURATION.fullmatch(text)
        if _DURATION.fullmatch(text):
            spelled = text
        elif loose is not None:
            spelled = f"{loose[1]}{loose[2] or 's'}"
        else:
            remedy = "write a whole number and ms, s or m, like 10s"
            raise RefusedError(f"{shown(text)} is no duration", remedy)
        duration = _nanoseconds(spelled)
        if not _nanoseconds(self.least) <= duration <= _nanoseconds(self.most):
            raise RefusedError(f"{shown(text)} is out of range: {self.least} to {self.most}")
        if spelled != text:
            raise RefusedError(f"{shown(text)} is no duration", instead=written.restyled(spelled))
        return duration


def _nanoseconds(text: str) -> Nanoseconds:
    unit = text.lstrip("0123456789")
    return int(text.removesuffix(unit)) * _NANOSECONDS[unit]


ABSOLUTE_PATH: Final = matching(
    "absolute path",
    lambda text: text.startswith("/") and printable(PATH_CHARACTERS)(text),
    "; write it from / on",
    Path,
)
"""A file on this host. It is opened when it is used, not when the configuration is read."""

PathOnHost: TypeAlias = Annotated[Path, ABSOLUTE_PATH]


def new_file(name: str) -> Text[Path]:
    """A file that is created if it is missing: an absolute path that is no folder.

    `name` is the name of the file in a folder that was written in its place.
    """

    def parse(written: Scalar) -> Path:
        path = ABSOLUTE_PATH.parse(written)
        if written.text.endswith("/") or os.path.isdir(written.text):
            instead = written.restyled(str(path / name))
            raise RefusedError(f"{shown(written.text)} is a folder, and a file is expected", instead=instead)
        return path

    return Text(ABSOLUTE_PATH.expected, parse)


def gpu_uuid(written: Scalar) -> str:
    """The UUID of one whole GPU, in the form in which its driver reports it: it is compared exactly.

    Raises:
        RefusedError: it is no UUID, or spelled otherwise.
    """
    text = written.text
    if has_wildcards(text):
        raise RefusedError(f"{shown(text)} looks like a pattern; this is matched exactly")
    for vendor in vendors.VENDORS:
        spelled = vendor.spelled_uuid(text)
        if spelled == text:
            return text
        if spelled is not None:
            raise RefusedError(
                f"{shown(text)} is spelled otherwise by {vendor.library}, and is compared exactly",
                instead=written.restyled(spelled),
            )
    ways = ", or ".join(vendor.uuid_help for vendor in vendors.VENDORS)
    raise RefusedError(f"{shown(text)} is no UUID of a GPU; {ways}")


GPU_UUID: Final = Text("GPU's UUID", gpu_uuid)

LARGEST_UID: Final = 4_294_967_294
"""One below (uid_t) -1, which names no user (chown(2))."""

_USER_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,255}[$]?", re.ASCII)
"""Names that useradd(8) and directories accept, without patterns: a user is matched exactly."""


def _user(written: Scalar) -> str:
    """The name, or the uid without leading zeros."""
    text = written.text
    if text.isascii() and text.isdigit():
        if len(text) > len(str(LARGEST_UID)) or int(text) > LARGEST_UID:
            raise RefusedError(f"{shown(text)} is no uid: write 0 to {LARGEST_UID}")
        return str(int(text))
    if not _USER_NAME.fullmatch(text):
        raise RefusedError(f"{shown(text)} is no user; write one name or uid, no pattern")
    return text


USER: Final = Text("name of a user, or uid", _user)


def uid_of(user: str) -> int | None:
    """The uid of a user; `None` for a name that this machine does not know."""
    if user.isdigit():
        return int(user)
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        return None


def number(written: Scalar, expected: str, unit: str, allowed: Callable[[Decimal], bool]) -> Decimal:
    """The exact decimal that was written.

    `unit` is that of the key, and `allowed` says which values an error may propose.

    Raises:
        RefusedError: it is no finite decimal number.
    """
    text = written.text
    is_octal = bool(_LEADING_ZERO.match(text))
    is_number = bool(_NUMBER.fullmatch(text)) and not is_octal
    if is_number and written.plain:
        return Decimal(text)
    if written.plain and is_octal:
        reason = f"{shown(text)} begins with 0 and may be read as octal"
        raise RefusedError(reason, "write it in decimal, without the 0")
    reason = f"must be a {expected}, not {'' if written.plain else 'text '}{shown(text)}"
    if written.boolean:
        reason = f"must be a {expected}, not the boolean {shown(text)}"
    instead = text if is_number else certain_number(text, unit)
    if instead is not None and allowed(Decimal(instead)):
        raise RefusedError(reason, instead=instead)
    if _OTHER_CURRENCY.search(text):
        raise RefusedError(reason, "amounts are in dollars only: convert it")
    raise RefusedError(reason, DIGITS if re.search(r"\d", text) else "")


def certain_number(text: str, unit: str) -> str | None:
    """The digits of a number with `$`, underscores or a suffix; `None` where they are not certain.

    `2,500` is 2500 to one reader and 2.5 to another, and `30 %` is a number where the unit is a ratio only.
    """
    match = _AMOUNT.fullmatch(text.strip())
    if match is None or (match["currency"] and unit != "dollars"):
        return None
    digits, suffix = match["digits"].replace("_", ""), match["suffix"].lower()
    if suffix == "%":
        return ratio_of_percent(digits) if unit == "ratio" else None
    return plain(Decimal(digits) * _MULTIPLES[suffix]) if suffix else digits


def ratio_of_percent(text: str) -> str:
    """A percentage as a ratio, with two decimals at least: 30 is 0.30, and 7.5 is 0.075."""
    value = Decimal(text) / 100
    return f"{value.normalize():f}" if value != round(value, 2) else f"{value:.2f}"


def plain(value: Decimal) -> str:
    """A decimal without an exponent and without zeros at its end: 1E+8 is 100000000."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
