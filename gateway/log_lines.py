"""What the gateway says to its operators while it serves: one JSON object a line.

An error is told by its type, its code and its place alone. The messages of databases and libraries repeat the values
they were given, and local variables hold them too; no log line holds patient data (law 11).
"""

from __future__ import annotations

import logging
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from typing import Any, Final, TextIO

import orjson
import structlog
from structlog.typing import EventDict, WrappedLogger

REPEATS_VALUES: Final = ("pydicom", "dicomweb_client", "httpx2")  # libraries that log what they read or where they went
FRAMES: Final = 12  # places told of one error, the innermost ones
CODES: Final = ("sqlstate", "sqlite_errorname", "errno")


def configure(stream: TextIO) -> None:
    """From now on whatever is logged in this process goes to `stream` so; warnings of libraries go nowhere."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _tell_error,
            structlog.processors.JSONRenderer(serializer=_as_line),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(stream),
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Lines())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for name in REPEATS_VALUES:
        logging.getLogger(name).propagate = False
        logging.getLogger(name).addHandler(logging.NullHandler())
    warnings.simplefilter("ignore")


def describe(error: BaseException) -> list[str]:
    """An error and what caused it, each as type, code and places, without a word of its message."""
    lines: list[str] = []
    known: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in known:
        known.add(id(cause))
        lines.append(" ".join([f"{type(cause).__module__}.{type(cause).__qualname__}", *_codes(cause)]))
        lines.extend(_places(cause))
        cause = cause.__cause__ or cause.__context__
    return lines


def _codes(error: BaseException) -> Iterator[str]:
    for name in CODES:
        code = getattr(error, name, None)
        if isinstance(code, str | int):
            yield f"{name}={code}"


def _places(error: BaseException) -> Iterator[str]:
    frames = traceback.extract_tb(error.__traceback__, limit=-FRAMES)
    return (f"  {frame.filename}:{frame.lineno} {frame.name}" for frame in reversed(frames))


def _tell_error(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    given = event.pop("exc_info", None)
    error = sys.exception() if given is True else given
    if isinstance(error, BaseException):
        event["trace"] = describe(error)
    return event


def _as_line(event: dict[str, Any], **_: object) -> str:
    return orjson.dumps(event, default=lambda value: type(value).__name__).decode()


class _Lines(logging.Formatter):
    """Records of the standard library's logging in the same form; of several lines only the first."""

    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        event: dict[str, Any] = {
            "event": record.getMessage().split("\n", 1)[0],
            "level": record.levelname.lower(),
            "logger": record.name,
            "timestamp": self.formatTime(record, "%Y-%m-%dT%H:%M:%SZ"),
        }
        if record.exc_info and record.exc_info[1] is not None:
            event["trace"] = describe(record.exc_info[1])
        return _as_line(event)
