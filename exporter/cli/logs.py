"""Structured logs on standard error: logfmt or JSON, one line per change of state, none per tick."""

import json
import logging
import sys
import threading
from datetime import UTC, datetime
from typing import Final, Literal

log = logging.getLogger(__name__)

LEVELS: Final = ("debug", "info", "warning", "error")
FORMATS: Final = ("logfmt", "json")

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
_PLAIN: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:/[]@%+,")


class LogFormatter(logging.Formatter):
    """Time, level, message and `extra` of the call; text from outside cannot break a line."""

    def __init__(self, style: Literal["logfmt", "json"]) -> None:
        super().__init__()
        self._json = style == "json"

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        fields: dict[str, object] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "msg": record.getMessage(),
        }
        fields.update((name, value) for name, value in vars(record).items() if name not in _STANDARD)
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        if self._json:
            return json.dumps(fields, default=str)
        texts = {name: str(value) for name, value in fields.items()}
        return " ".join(
            f"{name}={text if text and _PLAIN.issuperset(text) else json.dumps(text)}"
            for name, text in texts.items()
        )


def set_up(level: str, style: Literal["logfmt", "json"]) -> None:
    """Log to standard error from a level on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LogFormatter(style))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    threading.excepthook = _log_thread_failure
    for chatty in ("httpx", "httpcore"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _log_thread_failure(failure: threading.ExceptHookArgs) -> None:
    """Log what a thread raised. It ended; the others go on."""
    name = "" if failure.thread is None else failure.thread.name
    error = failure.exc_value
    trace = None if error is None else (failure.exc_type, error, failure.exc_traceback)
    log.error("thread failed", extra={"work": name}, exc_info=trace)
