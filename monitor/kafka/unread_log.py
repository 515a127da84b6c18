"""UnreadLog: tells of unread ranges without a line for each."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable

from monitor.events.unread_range import UnreadKind, UnreadRange

_log = logging.getLogger(__name__)

_PAUSE_S = 60.0


class UnreadLog:
    """Logs the first range of a kind, and then one a minute, with the number of those in between.

    Every range is in the dead-letter topic and counted in metrics; the log only has to say that there are some.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._logged_at: dict[UnreadKind, float] = {}
        self._left_out: Counter[UnreadKind] = Counter()

    def add(self, unread: UnreadRange) -> None:
        """Logs `unread`, or counts it for the next line."""
        now, last = self._clock(), self._logged_at.get(unread.kind)
        if last is not None and now - last < _PAUSE_S:
            self._left_out[unread.kind] += 1
            return
        self._logged_at[unread.kind] = now
        more = self._left_out.pop(unread.kind, 0)
        _log.warning("not read: %s%s", unread, f" (and {more} more of this kind since the last line)" if more else "")
