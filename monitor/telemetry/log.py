"""Logging: lines for people or machines on standard error, with a limit on repeated messages."""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TextIO

from monitor.config.sections import LogConfig

NOISY = (
    "kafka",
    "opentelemetry",
    "urllib3",
    "httpx",
    "monitor.telemetry.telemetry",
    "monitor.pipeline",
    "monitor.sources.kafka",
)
# what the Kafka client says in an outage, we say in one line; of its many messages a few are enough
_CHATTY = ("kafka",)
_MAX_KEYS = 1_024
_NUMBER = re.compile(r"0x[0-9a-f]+|\d+")
# what steers a terminal, ends a line, or turns the direction of what follows
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class RateLimit(logging.Filter):
    """Passes at most `limit` equal messages of the named loggers every `period_s` seconds.

    Messages that differ only in numbers are equal, and so are all messages of a `chatty` logger. The first one of the
    next period says how many were suppressed. Add it to a handler: a filter on a logger does not see the records of
    its child loggers.
    """

    def __init__(
        self,
        loggers: tuple[str, ...] = NOISY,
        limit: int = 3,
        period_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        chatty: tuple[str, ...] = _CHATTY,
    ) -> None:
        super().__init__()
        self._chatty = chatty
        self._loggers = loggers
        self._limit = limit
        self._period_s = period_s
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: OrderedDict[tuple[str, int, str], tuple[float, int]] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to show the record. Sets `suppressed` on it if others like it were not shown before."""
        limited = next((n for n in self._loggers if record.name == n or record.name.startswith(f"{n}.")), None)
        if limited is None:
            return True
        key = (record.name, record.levelno, _NUMBER.sub("#", record.getMessage()))
        if limited in self._chatty:
            key = (limited, 0, "")
        now = self._clock()
        with self._lock:
            start, count = self._seen.get(key, (now, 0))
            suppressed = 0
            if now - start >= self._period_s:
                suppressed = max(0, count - self._limit)
                start, count = now, 0
            self._seen[key] = (start, count + 1)
            self._seen.move_to_end(key)
            if len(self._seen) > _MAX_KEYS:
                self._seen.popitem(last=False)
        if count >= self._limit:
            return False
        if suppressed:
            record.suppressed = suppressed
        return True


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        # one record, one line; only a traceback has several
        line = f"{_time(record)} {record.levelname.lower():7} {record.name}: {_escaped(_message(record))}"
        if record.exc_info is None:
            return line
        return "\n".join([line, *map(_escaped, self.formatException(record.exc_info).split("\n"))])


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        if record.exc_info is not None:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


class _Handler(logging.StreamHandler[TextIO]):
    """A class of its own, so that a second call of `configure_logging` finds the handler."""


def _escaped(text: str) -> str:
    return _CONTROL.sub(lambda m: repr(m.group())[1:-1], text)


def _message(record: logging.LogRecord) -> str:
    suppressed = getattr(record, "suppressed", 0)
    return f"{record.getMessage()} ({suppressed} more like this were suppressed)" if suppressed else record.getMessage()


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def configure_logging(config: LogConfig, stream: TextIO | None = None) -> None:
    """Sends all log records of the process to `stream` (default: standard error). May be called again.

    Nothing logs text of events; an event is identified by its topic, partition and offset.
    """
    root = logging.getLogger()
    for handler in [h for h in root.handlers if isinstance(h, _Handler)]:
        root.removeHandler(handler)
    handler = _Handler(stream or sys.stderr)
    handler.setFormatter(_Json() if config.format == "json" else _Text())
    handler.addFilter(RateLimit(chatty=() if config.level == "debug" else _CHATTY))
    root.addHandler(handler)
    root.setLevel(config.level.upper())
    # Clients log every reconnect at info; show only their warnings unless debugging. Their own debug messages never:
    # the Kafka client's hold the bytes of records, and urllib3's the address of a webhook, which may be a secret.
    for name in NOISY[:4]:
        logging.getLogger(name).setLevel(logging.INFO if config.level == "debug" else logging.WARNING)
