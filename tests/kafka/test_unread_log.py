"""What the log says of ranges that cannot be read."""

from __future__ import annotations

import pytest

from monitor.events.unread_range import UnreadKind, UnreadRange
from monitor.kafka.unread_log import UnreadLog


def test_one_line_a_minute_for_each_kind(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    log = UnreadLog(lambda: now)

    def add(offset: int, kind: UnreadKind) -> None:
        log.add(UnreadRange("t", 0, offset, offset, kind, "why"))

    for offset in range(5):
        add(offset, "corrupt")
    add(5, "codec")
    now = 61.0
    add(6, "corrupt")
    now = 130.0
    add(7, "corrupt")
    assert [record.getMessage() for record in caplog.records] == [
        "not read: t-0 offsets 0 to 0: why",
        "not read: t-0 offsets 5 to 5: why",
        "not read: t-0 offsets 6 to 6: why (and 4 more of this kind since the last line)",
        "not read: t-0 offsets 7 to 7: why",
    ]
