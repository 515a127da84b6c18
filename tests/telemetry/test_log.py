"""configure_logging and RateLimit."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Literal

import pytest

from monitor.config.sections import LogConfig
from monitor.telemetry.log import NOISY, RateLimit, configure_logging


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    loggers = [logging.getLogger(), *(logging.getLogger(n) for n in NOISY)]
    before = [(logger, logger.level, logger.handlers[:]) for logger in loggers]
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers


def test_text_is_one_line_a_record() -> None:
    out = io.StringIO()
    configure_logging(LogConfig(), out)
    logging.getLogger("monitor.pipeline").info("started with %s", "a\nforged \x1b[31mline")
    logging.getLogger("monitor.pipeline").debug("not shown")
    (line,) = out.getvalue().splitlines()
    assert line.endswith(r"Z info    monitor.pipeline: started with a\nforged \x1b[31mline")


def test_json_has_one_object_a_line() -> None:
    out = io.StringIO()
    configure_logging(LogConfig(format="json", level="debug"), out)
    log = logging.getLogger("monitor.pipeline")
    log.debug("a\nb")
    try:
        raise ValueError("broken")
    except ValueError:
        log.exception("it failed")
    first, second = (json.loads(line) for line in out.getvalue().splitlines())
    assert (first["level"], first["logger"], first["message"]) == ("debug", "monitor.pipeline", "a\nb")
    assert first["time"].endswith("Z")
    assert "ValueError: broken" in second["exception"]


@pytest.mark.parametrize("format", ["text", "json"])
def test_nothing_in_a_record_steers_a_terminal(format: Literal["text", "json"]) -> None:
    hostile = "\x1b[2J\x1b]0;title\x07\x9b31m\x00\u202e\u2066"
    out = io.StringIO()
    configure_logging(LogConfig(format=format), out)
    try:
        raise ValueError(hostile)
    except ValueError:
        logging.getLogger("monitor.pipeline").exception("refused: %s", hostile)
    printed = out.getvalue()
    assert "31m" in printed
    assert [c for c in printed if c != "\n" and not c.isprintable()] == []


def test_a_second_call_replaces_the_first() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure_logging(LogConfig(), first)
    configure_logging(LogConfig(level="error"), second)
    logging.getLogger("x").warning("no")
    logging.getLogger("x").error("yes")
    assert first.getvalue() == ""
    assert second.getvalue().count("\n") == 1


def test_clients_are_quiet_unless_debugging() -> None:
    out = io.StringIO()
    configure_logging(LogConfig(), out)
    logging.getLogger("kafka.conn").info("connected")
    assert out.getvalue() == ""
    configure_logging(LogConfig(level="debug"), out)
    logging.getLogger("kafka.conn").info("connected")
    assert "connected" in out.getvalue()


def test_the_kafka_client_has_a_few_lines_whatever_it_says() -> None:
    out = io.StringIO()
    configure_logging(LogConfig(), out)
    for word in ("one", "two", "three", "four", "five"):
        logging.getLogger(f"kafka.{word}").warning("%s went wrong", word)
    assert out.getvalue().count("went wrong") == 3


def test_repetitions_are_limited_and_told_of() -> None:
    now = 0.0
    out = io.StringIO()
    configure_logging(LogConfig(), out)
    root = logging.getLogger()
    ours = root.handlers[-1]
    ours.filters[:] = [RateLimit(("urllib3",), limit=2, period_s=30, clock=lambda: now)]
    log = logging.getLogger("urllib3.pool")
    for attempt in range(10):
        log.warning("attempt %d to reach node failed", attempt)
        log.warning("something else")
        logging.getLogger("monitor").warning("ours")
    assert out.getvalue().count("attempt") == 2
    assert out.getvalue().count("something else") == 2
    assert out.getvalue().count("ours") == 10
    now = 30.0
    log.warning("attempt 11 to reach node failed")
    assert out.getvalue().endswith("attempt 11 to reach node failed (8 more like this were suppressed)\n")
    log.warning("attempt 12 to reach node failed")
    assert out.getvalue().endswith("attempt 12 to reach node failed\n")


def test_the_memory_of_messages_is_bounded() -> None:
    limit = RateLimit(("urllib3",))
    for n in range(3_000):
        word = "".join(chr(ord("a") + int(d)) for d in str(n))
        limit.filter(logging.makeLogRecord({"name": "urllib3", "msg": word, "levelno": 30}))
    assert len(limit._seen) == 1_024
