"""How long parsing takes: `python -m tests.events.speed` prints microseconds of CPU time an event, format by format.

`json` is the time that Python's json.loads takes for the same bytes: what no parser of ours goes below.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable

from monitor.events.event import Record
from monitor.events.parse import EVENT_FORMATS, parse_records
from tests.events.samples import SAMPLES

_ROUNDS, _REPEATS, _POLL = 15, 20, 64


def _microseconds(work: Callable[[], object], events: int) -> float:
    """The median over rounds, for one event."""
    rounds = []
    for _ in range(_ROUNDS):
        started = time.thread_time()
        for _ in range(_REPEATS):
            work()
        rounds.append((time.thread_time() - started) / _REPEATS / events * 1e6)
    return statistics.median(rounds)


def _row(name: str, records: list[Record]) -> str:
    values = [record.value or b"" for record in records]
    parsing = _microseconds(lambda: parse_records(records), len(records))
    decoding = _microseconds(lambda: [json.loads(value) for value in values], len(records))
    size = sum(map(len, values)) / len(values)
    return f"{name:18} {parsing:8.1f} {decoding:8.1f} {size:8.0f}"


def main() -> None:
    """Prints the table."""
    print(f"{'format':18} {'us':>8} {'json us':>8} {'bytes':>8}")  # noqa: T201
    for name in EVENT_FORMATS.built_in:
        records = [s.record for s in SAMPLES if s.format == name and s.turns and not isinstance(s.body, bytes)]
        plain = min(records, key=lambda record: len(record.value or b""))
        print(_row(name, [plain] * _POLL))  # noqa: T201


if __name__ == "__main__":
    main()
