"""Times as producers write them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from monitor.events.event_time import read_time

TIME = datetime(2025, 6, 1, 12, 30, tzinfo=UTC)
LATER = TIME.replace(microsecond=123_000)


@pytest.mark.parametrize(
    ("value", "time"),
    [
        ("2025-06-01T12:30:00Z", TIME),
        ("2025-06-01T14:30:00+02:00", TIME),
        ("2025-06-01T12:30:00", TIME),  # without an offset: UTC
        ("2025-06-01 12:30:00.123Z", LATER),
        ("2025-06-01T12:30:00.123000999Z", LATER),
        ("Sun, 01 Jun 2025 12:30:00 GMT", TIME),
        (1748781000, TIME),
        (1748781000.123, LATER),
        (1748781000123, LATER),
        (1748781000123000, LATER),
        (1748781000123000000, LATER),
        ("1748781000", TIME),
        ("1748781000123", LATER),
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)),
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
    ],
)
def test_times(value: Any, time: datetime) -> None:
    found = read_time(value)
    assert found is not None
    assert abs((found - time).total_seconds()) < 1e-3


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        "",
        "yesterday",
        "2025-13-01T00:00:00Z",
        {},
        [],
        10**30,
        float("nan"),
        "9" * 40,
    ],
)
def test_what_is_no_time(value: Any) -> None:
    assert read_time(value) is None
