"""Validators of single values: numbers, words, patterns, durations, paths, users."""

import difflib
import os
import pwd
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Annotated, ClassVar, Final, Generic, TypeAlias, TypeVar

from exporter import vendors
from exporter.config.document import Node, Scalar
from exporter.config.problems import RefusedError, shown
from exporter.config.schema import Context, describe
from exporter.readings import LABEL_CHARACTERS, label
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
_PER = re.compile(r"/|\bper\b", re.IGNORECASE)
_MULTIPLES: Final = {"k": 1000, "m": 1_000_000}
_OTHER_CURRENCY = re.compile(r"[€£¥₹]|\b(?:EUR|GBP|CHF|JPY|CNY|INR)\b", re.IGNORECASE)
_DURATION = re.compile(r"(\d{1,9})(ms|s|m)", re.ASCII)
_LOOSE_DURATION = re.compile(r"(0|[1-9]\d{0,5}) ?(ms|s|m)?", re.ASCII)
_TRUTHS: Final = {
    **dict.fromkeys(("true", "yes", "on", "y", "1"), "true"),
    **dict.fromkeys(("false", "no", "off", "n", "0"), "false"),
}
_MILLISECONDS = {"ms": 1, "s": 1000, "m": 60_000}
_NANOSECONDS_PER_MILLISECOND: Final = NANOSECONDS_PER_SECOND // 1000
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}", re.ASCII)

T_co = TypeVar("T_co", covariant=True)


def scalar(node: Node, expected: str) -> Scalar:
    """The node, if a single value was written."""
    if not isinstance(node, Scalar) or node.empty:
        raise RefusedError(f"must be {article(expected)} {expected}, not {describe(node)}")
    return node


class ScalarValidator(Generic[T_co]):
    """A validator of a scalar: `parse` gets what is neither a list nor a mapping."""

    @property
    def expected(self) -> str:
        """As `Validator.expected`."""
        raise NotImplementedError

    kind: ClassVar[str] = ""
    """The noun of a value whose `expected` has none, like number."""

    @property
    def example(self) -> str:
        """What is expected, as errors name it."""
        return f"{self.kind} ({self.expected})" if self.kind else self.expected

    def read(self, node: Node, context: Context) -> T_co:
        """As `Validator.read`."""
        del context
        return self.parse(scalar(node, self.example))

    def parse(self, written: Scalar) -> T_co:
        """The value of what was written.

        Raises:
            RefusedError: it cannot be used; the message has the reason and the remedy.
        """
        raise NotImplementedError

    def show(self, value: object) -> str:
        """A value as it is written in the file."""
        return str(value)


@dataclass(frozen=True, slots=True)
class Number(ScalarValidator[Decimal]):
    """An exact decimal in [low, high], read from its digits and never through a float."""

    unit: str
    high: Decimal
    low: Decimal = Decimal(0)
    above_low: bool = False
    """Whether the low bound itself is refused."""
    decimals: int = MOST_DECIMALS
    excess: str = ""
    """The remedy for a value above the high bound."""
    kind = "number"

    @property
    def expected(self) -> str:
        """The unit and the bounds."""
        least = f"above {plain(self.low)}, up to" if self.above_low else f"{plain(self.low)} to"
        return f"{self.unit}, {least} {plain(self.high)}"

    def parse(self, written: Scalar) -> Decimal:
        """A decimal within the bounds."""
        value = number(written, self.example, self.unit, self._within)
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

    def show(self, value: object) -> str:
        """Digits without an exponent."""
        return plain(value) if isinstance(value, Decimal) else str(value)


@dataclass(frozen=True, slots=True)
class Whole(ScalarValidator[int]):
    """A whole number in [low, high]."""

    unit: str
    low: int
    high: int
    kind = "whole number"

    @property
    def expected(self) -> str:
        """The unit and the bounds."""
        return f"{self.unit}, {self.low} to {self.high}"

    def parse(self, written: Scalar) -> int:
        """An integer within the bounds."""
        value = number(written, self.example, self.unit, self._within)
        if value != value.to_integral_value():
            raise RefusedError(f"{shown(written.text)} is not a {self.example}")
        if not self._within(value):
            raise RefusedError(f"{shown(written.text)} is out of range: {self.expected}")
        return int(value)

    def _within(self, value: Decimal) -> bool:
        return self.low <= value <= self.high and value == value.to_integral_value()


Port: TypeAlias = Annotated[int, Whole("port", 1, 65535)]


@dataclass(frozen=True, slots=True)
class Label(ScalarValidator[str]):
    """Text that becomes a label's value as it is: printable, not empty, no spaces around it.

    `reserved` words and `reserved_beginning` have a meaning of their own in metrics.
    """

    expected: str
    reserved: tuple[str, ...] = ()
    exact: bool = False
    reserved_beginning: str | None = None

    def parse(self, written: Scalar) -> str:
        """The text itself."""
        text = written.text
        if not text or text != text.strip():
            raise RefusedError(f"{shown(text)} is empty or has spaces around it; write a {self.expected}")
        if text != label(text):
            raise RefusedError(
                f"{shown(text)} has control characters or is longer than {LABEL_CHARACTERS} characters"
            )
        if text in self.reserved:
            raise RefusedError(f"{shown(text)} is reserved; choose another {self.expected}")
        if self.reserved_beginning is not None and text.startswith(self.reserved_beginning):
            raise RefusedError(f"{shown(text)} begins with a reserved prefix; choose another {self.expected}")
        if self.exact and any(c in text for c in "*?["):
            raise RefusedError(f"{shown(text)} looks like a pattern; this is matched exactly")
        return text


@dataclass(frozen=True, slots=True)
class Matching(ScalarValidator[T_co]):
    """A text of one form, and what is made of it."""

    expected: str = field()  # the property of the base would be its default
    matches: Callable[[str], object]
    """Whether a text has the form."""
    form: str
    """The form in words, or the remedy, behind the punctuation before it."""
    made: Callable[[str], T_co]
    """Makes the value of a text."""
    like: str = ""
    """An example, where `expected` alone says too little."""

    @property
    def example(self) -> str:
        """What is expected, with the example."""
        return f"{self.expected} like {self.like}" if self.like else self.expected

    def parse(self, written: Scalar) -> T_co:
        """The value of the text."""
        if not self.matches(written.text):
            raise RefusedError(f"{shown(written.text)} is no {self.expected}{self.form}")
        return self.made(written.text)


@dataclass(frozen=True, slots=True)
class Name(ScalarValidator[str]):
    """A word that is safe as a label's value and in a query."""

    expected: str
    reserved: tuple[str, ...] = ()

    def parse(self, written: Scalar) -> str:
        """The word itself."""
        form = ": a letter, then letters, digits, _ and -, at most 64"
        text = Matching(self.expected, _NAME.fullmatch, form, str).parse(written)
        if text in self.reserved:
            raise RefusedError(f"{shown(text)} is reserved; choose another {self.expected}")
        return text


def has_wildcards(pattern: str) -> bool:
    """Whether a shell-style pattern may match more than its own text."""
    return any(character in pattern for character in "*?[")


def printable(most: int) -> Callable[[str], bool]:
    """Whether a text has 1 to `most` characters, all printable."""
    return lambda text: 0 < len(text) <= most and text.isprintable()


PATTERN: Final = Matching(
    "pattern", printable(PATTERN_CHARACTERS), f": 1 to {PATTERN_CHARACTERS} printable characters", str
)
"""A shell-style pattern: * any text, ? one character, [ab] one of these. Case counts."""

PatternText: TypeAlias = Annotated[str, PATTERN]

W = TypeVar("W", bound=str)


@dataclass(frozen=True, slots=True)
class Choice(ScalarValidator[W]):
    """One of a few words."""

    options: tuple[W, ...]
    remedy: str = ""
    """What to do where a word is like none of them."""
    kind = "word"

    @property
    def expected(self) -> str:
        """The words."""
        return " or ".join(self.options)

    def parse(self, written: Scalar) -> W:
        """The option that was written."""
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


@dataclass(frozen=True, slots=True)
class Truth(ScalarValidator[bool]):
    """The word true or false, as YAML 1.2 has it."""

    expected: str = "true or false"

    def parse(self, written: Scalar) -> bool:
        """The boolean."""
        if written.text not in {"true", "false"}:
            raise RefusedError(
                f"{shown(written.text)} is neither true nor false", instead=_TRUTHS.get(written.text.lower())
            )
        return written.text == "true"

    def show(self, value: object) -> str:
        """YAML's word."""
        return "true" if value else "false"


@dataclass(frozen=True, slots=True)
class Duration(ScalarValidator[Nanoseconds]):
    """A whole number with its unit: 500ms, 10s, 1m."""

    least: str
    most: str

    @property
    def expected(self) -> str:
        """The bounds."""
        return f"duration, {self.least} to {self.most}"

    def parse(self, written: Scalar) -> Nanoseconds:
        """Nanoseconds within the bounds."""
        text = written.text
        if not _DURATION.fullmatch(text):
            match = _LOOSE_DURATION.fullmatch(text)
            instead = None if match is None else written.restyled(f"{match[1]}{match[2] or 's'}")
            remedy = "" if instead else "write a whole number and ms, s or m, like 10s"
            raise RefusedError(f"{shown(text)} is no duration", remedy, instead=instead)
        if not _nanoseconds(self.least) <= _nanoseconds(text) <= _nanoseconds(self.most):
            raise RefusedError(f"{shown(text)} is out of range: {self.least} to {self.most}")
        return _nanoseconds(text)

    def show(self, value: object) -> str:
        """Seconds, or milliseconds if they are not whole."""
        milliseconds = int(str(value)) // _NANOSECONDS_PER_MILLISECOND
        return f"{milliseconds}ms" if milliseconds % 1000 else f"{milliseconds // 1000}s"


def _is_absolute(text: str) -> bool:
    return text.startswith("/") and printable(PATH_CHARACTERS)(text)


ABSOLUTE_PATH: Final = Matching("absolute path", _is_absolute, "; write it from / on", Path)
"""A file on this host. It is opened when it is used, not when the configuration is read."""

PathOnHost: TypeAlias = Annotated[Path, ABSOLUTE_PATH]


@dataclass(frozen=True, slots=True)
class NewFile(ScalarValidator[Path]):
    """A file that is created if it is missing, like a ledger: an absolute path that is no folder.

    `name` is what it is called in a folder that was written in its place.
    """

    name: str
    expected: str = "absolute path"

    def parse(self, written: Scalar) -> Path:
        """The path of the file."""
        path, text = ABSOLUTE_PATH.parse(written), written.text
        if text.endswith("/") or os.path.isdir(text):
            instead = written.restyled(str(path / self.name))
            raise RefusedError(f"{shown(text)} is a folder, and a file is expected", instead=instead)
        return path


@dataclass(frozen=True, slots=True)
class GpuUuid(ScalarValidator[str]):
    """The UUID of one whole GPU, in the form in which its driver reports it: it is compared exactly."""

    expected: str = "GPU's UUID"

    def parse(self, written: Scalar) -> str:
        """The UUID, as it was written."""
        text = written.text
        if any(c in text for c in "*?["):
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


_GPU_ID: Final = re.compile(r"[A-Za-z0-9/-]{1,124}", re.ASCII)


def is_gpu_id(text: str) -> bool:
    """Whether a text may be the UUID of a part of a GPU."""
    return bool(_GPU_ID.fullmatch(text)) and any(vendor.is_id(text) for vendor in vendors.VENDORS)


def is_gpu_uuid(text: str) -> bool:
    """Whether a text is the UUID of a whole GPU, in any spelling."""
    return any(vendor.spelled_uuid(text) for vendor in vendors.VENDORS)


LARGEST_UID: Final = 4_294_967_294
"""One below (uid_t) -1, which names no user (chown(2))."""

_USER_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,255}[$]?", re.ASCII)
"""Names that useradd(8) and directories accept, without patterns: a user is matched exactly."""


@dataclass(frozen=True, slots=True)
class User(ScalarValidator[str]):
    """A user's name or uid."""

    expected: str = "name of a user, or uid"

    def parse(self, written: Scalar) -> str:
        """The name, or the uid without leading zeros."""
        text = written.text
        if text.isascii() and text.isdigit():
            if len(text) > len(str(LARGEST_UID)) or int(text) > LARGEST_UID:
                raise RefusedError(f"{shown(text)} is no uid: write 0 to {LARGEST_UID}")
            return str(int(text))
        if not _USER_NAME.fullmatch(text):
            raise RefusedError(f"{shown(text)} is no user; write one name or uid, no pattern")
        return text


NO_UID: Final = -1
"""(uid_t) -1, which names no user."""


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
    is_number = bool(_NUMBER.fullmatch(text)) and not _LEADING_ZERO.match(text)
    if is_number and written.plain:
        return Decimal(text)
    instead = text if is_number else certain_number(text, unit)
    if instead is not None and not allowed(Decimal(instead)):
        instead = None
    if _OTHER_CURRENCY.search(text):
        remedy = "amounts are in dollars only: convert it"
    elif "%" in text:
        remedy = "write a ratio within the bounds" if "ratio" in unit else "percent is for ratios only"
    elif _PER.search(text):
        remedy = f"write the digits only, in {unit}"
    elif _LEADING_ZERO.match(text):
        remedy = "write it in decimal, without the 0"
    else:
        remedy = DIGITS if re.search(r"\d", text) else ""
    if written.boolean:
        reason = f"must be a {expected}, not the boolean {shown(text)}"
    elif not written.plain:
        reason = f"must be a {expected}, not text {shown(text)}"
    elif _LEADING_ZERO.match(text):
        reason = f"{shown(text)} begins with 0 and may be read as octal"
    else:
        reason = f"must be a {expected}, not {shown(text)}"
    raise RefusedError(reason, "" if instead else remedy, instead=instead)


def certain_number(text: str, unit: str) -> str | None:
    """The digits of a number with `$`, underscores or a suffix; `None` where they are not certain.

    `2,500` is 2500 to one reader and 2.5 to another, and `30 %` is a number where the unit is a ratio only.
    """
    match = _AMOUNT.fullmatch(text.strip())
    if match is None or (match["currency"] and "dollars" not in unit):
        return None
    digits, suffix = match["digits"].replace("_", ""), match["suffix"].lower()
    if suffix == "%":
        return ratio_of_percent(digits) if "ratio" in unit else None
    return plain(Decimal(digits) * _MULTIPLES[suffix]) if suffix else digits


def ratio_of_percent(text: str) -> str:
    """A percentage as a ratio, with two decimals at least: 30 is 0.30, and 7.5 is 0.075."""
    value = Decimal(text) / 100
    return f"{value.normalize():f}" if value != round(value, 2) else f"{value:.2f}"


def article(noun: str) -> str:
    """A or an."""
    return "an" if noun[0] in "aeiou" else "a"


def plain(value: Decimal) -> str:
    """A decimal without an exponent and without zeros at its end: 1E+8 is 100000000."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _nanoseconds(text: str) -> Nanoseconds:
    match = _DURATION.fullmatch(text)
    assert match  # noqa: S101  # callers have matched it
    return int(match[1]) * _MILLISECONDS[match[2]] * _NANOSECONDS_PER_MILLISECOND
