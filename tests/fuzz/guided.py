"""Guided: atheris steers both the generator and raw bytes to code of monitor.events that no case has reached.

A process of its own, because libFuzzer ends the process when it is done.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["monitor.events"]):
    from monitor.events.parse import AUTO, EVENT_FORMATS

    for _format in EVENT_FORMATS.built_in:
        EVENT_FORMATS.load(_format)
    from monitor.events.envelopes import otlp_protobuf  # noqa: F401 - otherwise imported by the first case that needs it

from monitor.events.event import Record
from tests.events.samples import SAMPLES
from tests.fuzz.case import ORIGIN, Case, make_case
from tests.fuzz.chance import ByteChance
from tests.fuzz.check import judged
from tests.fuzz.tally import Tally

_WRITE_EVERY = 2_000
_GENERATED, _RAW = b"g", b"r"
_CASE_BYTES = 4_096


def main(cases: int, folder: Path, result: Path) -> None:
    """Runs `cases` cases; `result` has the tally as JSON."""
    tally, done = Tally(folder), 0

    def one(data: bytes) -> None:
        nonlocal done
        done += 1
        case = _raw(data[1:]) if data[:1] == _RAW else make_case(ByteChance(data[1:]))
        tally.add(case, judged(case), f"guided-{done}")
        if done % _WRITE_EVERY == 0 or done >= cases:
            result.write_text(json.dumps({**tally.as_json(), "done": done}), encoding="utf-8")

    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for i, sample in enumerate(SAMPLES):
        (corpus / f"sample-{i}").write_bytes(_RAW + (sample.record.value or b""))
    for i in range(64):
        (corpus / f"generated-{i}").write_bytes(_GENERATED + bytes((i * j * 37) % 256 for j in range(1, 512)))
    options = ["-timeout=20", "-rss_limit_mb=4096", f"-max_len={_CASE_BYTES}", "-len_control=0", "-seed=1"]
    atheris.Setup([sys.argv[0], *options, f"-atheris_runs={cases}", str(corpus)], one)
    atheris.Fuzz()


def _raw(value: bytes) -> Case:
    return Case(Record(value, ORIGIN), AUTO, "raw bytes", frozenset(), frozenset(), whole=False)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
