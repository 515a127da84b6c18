"""Every kind of record that producers write gives what it should."""

from __future__ import annotations

import pytest

from monitor.errors import BadEvent
from monitor.events.parse import parse
from tests.events.samples import SAMPLES, Sample


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_each_kind(sample: Sample) -> None:
    if sample.turns is None:
        with pytest.raises(BadEvent) as caught:
            parse(sample.record)
        assert sample.reason in caught.value.reason
        return
    (event,) = parse(sample.record)
    assert tuple((m.role, m.content) for m in event.messages) == sample.turns
    assert event.response == sample.response
    assert event.id == sample.id
    assert (event.unread, event.repaired) == (sample.unread, sample.repaired)
    assert (event.time is not None) == sample.time
