"""Times as producers write them: text, or numbers in any unit."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

_LEAP_SECOND = re.compile(r"(\d\d:\d\d:)60")
_NUMBER = re.compile(r"-?\d+(\.\d*)?")
# A Unix time of today has 10 digits in seconds; each unit is a thousand times finer than the one before
_UNITS = ((1e11, 1), (1e14, 1e3), (1e17, 1e6), (1e20, 1e9))


def read_time(value: object) -> datetime | None:
    """The time in UTC or with its own offset, or None if `value` isn't one.

    Numbers are Unix times in seconds, milliseconds, microseconds or nanoseconds, told apart by their size. Text is RFC
    3339, RFC 2822 or such a number. A leap second counts as the second after it; without an offset, the time is UTC.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return _from_number(value)
    if not isinstance(value, str):
        return None
    if _NUMBER.fullmatch(value.strip()) and len(value) <= 32:
        return _from_number(float(value))
    return _from_text(value.strip())


def _from_number(value: float) -> datetime | None:
    divisor = next((divisor for limit, divisor in _UNITS if abs(value) < limit), None)
    if divisor is None:  # also not a number and infinity
        return None
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=value / divisor)
    except (OverflowError, ValueError):
        return None


def _from_text(value: str) -> datetime | None:
    text, leaps = _LEAP_SECOND.subn(r"\g<1>59", value, count=1)
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        try:
            time = parsedate_to_datetime(text)
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
    time = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
    try:
        return time + timedelta(seconds=leaps)
    except OverflowError:
        return time
