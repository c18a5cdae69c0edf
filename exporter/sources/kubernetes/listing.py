"""A PodList read piece by piece: one pod is held at a time, however many there are. Pure.

Go writes the fields of an object in the order of its type (core/v1: kind, apiVersion, metadata, items), so
that `kind` comes before `items`.
"""

import codecs
import json
import re
from typing import Any, Final, Literal

KIND: Final = "PodList"
ITEM_CHARACTERS_MAX: Final = 4 * 1024 * 1024
"""etcd takes objects of 1.5 MiB unless told otherwise; what has no end after that is no pod."""

_SPACE: Final = re.compile(r"[ \t\n\r]*")


class NotAListError(Exception):
    """What was fed is no PodList; the message says why, as the rest of a sentence."""


class _UnfinishedError(Exception):
    """What is there does not suffice."""


class PodListing:
    """Takes the bytes of a PodList, and gives the JSON of its pods as soon as each is whole."""

    def __init__(self) -> None:
        self._bytes = codecs.getincrementaldecoder("utf-8")()
        self._json = json.JSONDecoder()
        self._text = ""
        self._left = 0
        self._expects: Literal["object", "key", "item", "nothing"] = "object"
        self._kind = ""

    def feed(self, piece: bytes) -> list[Any]:
        """What a piece of the body makes whole. What comes after the list is not looked at.

        Raises:
            NotAListError: the body is none of a PodList.
        """
        if self._expects == "nothing":
            return []
        try:
            self._text += self._bytes.decode(piece)
        except UnicodeDecodeError as error:
            raise NotAListError("not with text") from error
        # A large pod is not tried again until twice as much of it is there.
        return self._items() if len(self._text) >= 2 * self._left else []

    def end(self) -> list[Any]:
        """What was not given yet; nothing is fed any more.

        Raises:
            NotAListError: the list has not ended.
        """
        items = self._items()
        if self._expects != "nothing":
            raise NotAListError("not with a whole list of pods")
        return items

    def _items(self) -> list[Any]:
        items, at = [], 0
        try:
            while self._expects != "nothing":
                complete, at = self._step(at)
                items.extend(complete)
        except _UnfinishedError:
            pass
        self._text = self._text[at:]
        self._left = len(self._text)
        if self._left > ITEM_CHARACTERS_MAX:
            raise NotAListError("but what it says has no end")
        return items

    def _step(self, at: int) -> tuple[list[Any], int]:
        """One key with its value, or one item; where the next begins."""
        if self._expects == "object":
            self._expects, at = "key", self._after(at, "{")[1]
            return [], at
        if self._expects == "item":
            if self._next(at) == "]":
                self._expects = "nothing"
                return [], at
            item, at = self._value(at)
            delimiter, at = self._after(at, ",]")
            self._expects = "item" if delimiter == "," else "nothing"
            return [item], at
        key, at = self._value(at)
        _, at = self._after(at, ":")
        if key == "items" and self._next(at) == "[":
            if self._kind != KIND:
                raise NotAListError("but not with a list of pods")
            self._expects = "item"
            return [], self._after(at, "[")[1]
        value, at = self._value(at)
        delimiter, at = self._after(at, ",}")
        if key == "kind":
            self._kind = str(value)
        if key == "items" and value is None and self._kind == KIND:
            self._expects = "nothing"  # how Go writes a list that nobody made
        elif delimiter == "}":
            raise NotAListError("but not with a list of pods")
        return [], at

    def _next(self, at: int) -> str:
        """The next character that is no white space."""
        space = _SPACE.match(self._text, at)
        at = space.end() if space else at
        if at == len(self._text):
            raise _UnfinishedError
        return self._text[at]

    def _after(self, at: int, wanted: str) -> tuple[str, int]:
        """The next character, which must be one of those wanted, and where it ends."""
        character = self._next(at)
        if character not in wanted:
            raise NotAListError("but not with JSON")
        return character, self._text.index(character, at) + 1

    def _value(self, at: int) -> tuple[Any, int]:
        """The next value, and where it ends."""
        at = self._text.index(self._next(at), at)
        try:
            return self._json.raw_decode(self._text, at)
        except RecursionError as error:
            raise NotAListError("but what it says has no end") from error
        except ValueError as error:
            raise _UnfinishedError from error
