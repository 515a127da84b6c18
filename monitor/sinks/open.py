"""open_sinks and close_sinks: all sinks of a config at once."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import cast

from monitor.config.sinks import SINKS, SinksConfig
from monitor.sinks.optional import OptionalSink
from monitor.sinks.sink import Sink, SinkContext, SinkType
from monitor.sinks.status import SinkStatus


def open_sinks(config: SinksConfig, context: SinkContext, status: SinkStatus) -> list[Sink]:
    """Every enabled sink, in the order in which they get their alerts. Raises ConfigError."""
    opened: list[Sink] = []
    try:
        for name, section in config.enabled().items():
            sink = cast("SinkType", SINKS.load(name)).open(section, context)
            opened.append(sink if section.required else OptionalSink(sink, status, section.queue_alerts))
    except Exception:
        close_sinks(opened)
        raise
    return opened


def close_sinks(sinks: Sequence[Sink]) -> None:
    """Closes them at the same time, so that slow ones don't add up."""
    with ThreadPoolExecutor(max_workers=max(1, len(sinks))) as pool:
        closing = [pool.submit(sink.close) for sink in sinks]
    for closed in closing:
        closed.result()
