"""`python -m tests.integration.poisoned_throughput`: the pipeline's rate with and without poisoned records.

Needs Apache Kafka: KAFKA_HOME names its folder. Reads two topics of the same batches in turns, one with poison of every
kind in it, with an engine that reads nothing. `--reader` measures with the shipped reader and sets instead.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from monitor.engine import Engine, Evaluation
from monitor.events.event import Event
from tests.brokers import ApacheKafka, kafka_home
from tests.integration.poison import DEAD, JUDGED, UNREAD, Written, write
from tests.integration.poisoned_run import NoReading, Ran, run
from tests.topics import new_topic


class _Counting(NoReading):
    """The engine of a config, with what it was given."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self._engine = engine

    def evaluate(self, events: Sequence[Event], on_group: Callable[[], None] = lambda: None) -> Iterator[Evaluation]:
        self.events += events
        return iter(self._engine.evaluate(events, on_group))


def main() -> int:
    """Returns 1 if a record is not accounted for."""
    parser = argparse.ArgumentParser(prog="python -m tests.integration.poisoned_throughput", description=__doc__)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument(
        "--max-poll-records", type=int, default=64, help="records taken at once; 64 is the default of source"
    )
    parser.add_argument("--rounds", type=int, default=7, help="each reads both topics, in alternating order")
    parser.add_argument("--reader", action="store_true", help="read with the shipped reader; takes far longer")
    args = parser.parse_args()
    home = kafka_home()
    if home is None:
        print("set KAFKA_HOME to an Apache Kafka download, and install Java")  # noqa: T201
        return 2
    with tempfile.TemporaryDirectory(prefix="poison-") as folder, ApacheKafka(home, Path(folder)) as broker:
        make = _reader(Path(folder)) if args.reader else NoReading
        topics = {name: write(broker, args.events, 100, poison=name == "poisoned") for name in ("clean", "poisoned")}
        dead = new_topic(broker)
        runs: dict[str, list[Ran]] = {"clean": [], "poisoned": []}
        for n in range(-1, args.rounds):  # the first round warms up
            for name in ("clean", "poisoned") if n % 2 else ("poisoned", "clean"):
                engine = make()
                ran = run(broker, topics[name], dead, engine, max_poll_records=args.max_poll_records)
                if not _accounted(topics[name], ran, engine):
                    print(f"not accounted for: {name}, {ran.totals}")  # noqa: T201
                    return 1
                if n >= 0:
                    runs[name].append(ran)
    _report(topics["poisoned"], runs)
    return 0


def _reader(folder: Path) -> Callable[[], NoReading]:
    from monitor.assembly.artefacts import load_artefacts
    from monitor.assembly.build import build_engine
    from monitor.config.sections import Config

    config = Config.model_validate({})
    engine = build_engine(config, load_artefacts(config), lambda _: None)
    return lambda: _Counting(engine)


def _accounted(written: Written, ran: Ran, engine: NoReading) -> bool:
    judged = sorted(event.origin.offset for event in engine.events)
    counts = tuple(len(written.offsets[fate]) for fate in (JUDGED, DEAD, UNREAD))
    totals = ran.totals
    return judged == sorted(written.offsets[JUDGED]) and (totals.events, totals.bad, totals.unread) == counts


def _report(written: Written, runs: dict[str, list[Ran]]) -> None:
    for name, ran in runs.items():
        rates = sorted(one.records_per_s for one in ran)
        cpu = statistics.median(1e6 * one.cpu_s / one.records for one in ran)
        print(  # noqa: T201
            f"{name:9} {statistics.median(rates):8.0f} records/s ({rates[0]:.0f} to {rates[-1]:.0f}), "
            f"{cpu:.0f} us of CPU a record, {len(rates)} runs"
        )
    pairs = list(zip(runs["clean"], runs["poisoned"], strict=True))
    for what, ratios in (
        ("rate", sorted(poisoned.records_per_s / clean.records_per_s for clean, poisoned in pairs)),
        ("CPU time", sorted((p.cpu_s / p.records) / (c.cpu_s / c.records) for c, p in pairs)),
    ):
        print(  # noqa: T201
            f"{what}, poisoned to clean: {statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})"
        )
    judged, dead, unread = (len(written.offsets[fate]) for fate in (JUDGED, DEAD, UNREAD))
    print(  # noqa: T201
        f"poisoned: {written.records} consumed = {judged} judged + {dead} dead-lettered + {unread} unread; "
        f"{len(set(written.kinds.values()))} kinds in {len(written.kinds)} records"
    )


if __name__ == "__main__":
    sys.exit(main())
