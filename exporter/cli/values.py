"""Types of flags: what a value must look like, and the message when it does not."""

import argparse
import re
from pathlib import Path

from exporter.exposition.address import AddressError, parse_address
from exporter.exposition.hosts import host_of


def absolute(text: str) -> Path:
    """A path from / on, as the configuration asks for: a daemon's folder is nobody's choice."""
    path = Path(text)
    if not path.is_absolute():
        raise argparse.ArgumentTypeError(f"{text!r} is no absolute path; write {path.absolute()}")
    return path


def address(text: str) -> str:
    """An address that can be listened on, as far as its form goes."""
    try:
        parse_address(text)
    except AddressError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def host(text: str) -> str:
    """A host name that browsers may ask for."""
    try:
        return host_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def month(text: str) -> str:
    """A month like 2026-10."""
    if not re.fullmatch(r"[0-9]{4}-(0[1-9]|1[0-2])", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no month: expected one like 2026-10")
    return text
