"""`python -m tests.chaos`: kills workers at random under both guarantees and prints what was lost and doubled."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.brokers import ApacheKafka, kafka_home
from tests.chaos.run import WORKERS, ChaosRun, Outcome

_HEAD = (
    "| Guarantee | Events | Kills of {workers} workers | Broker restarts | Reloads | Seconds | Alerts lost | doubled "
    "| unexpected | Dead letters lost | doubled | Back at work after an outage, seconds |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|---|"
)


def main() -> int:
    """Returns 1 if a guarantee was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--broker-restarts", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--outage-s", type=float, default=60, help="how long the broker is down in the last part")
    parser.add_argument("--guarantee", choices=["at_least_once", "exactly_once"], action="append")
    wanted = parser.parse_args()
    home = kafka_home()
    if home is None:
        sys.exit("set KAFKA_HOME to an Apache Kafka download (and install Java)")
    outcomes: list[Outcome] = []
    print(_HEAD.format(workers=WORKERS), flush=True)  # noqa: T201
    for guarantee in wanted.guarantee or ["at_least_once", "exactly_once"]:
        folder = Path(tempfile.mkdtemp(prefix="chaos-"))
        (folder / "kafka").mkdir()
        with ApacheKafka(home, folder / "kafka") as broker:
            run = ChaosRun(broker, folder, guarantee, wanted.seed)
            outcomes.append(run.run(wanted.events, wanted.kills, wanted.broker_restarts))
            run = ChaosRun(broker, folder, guarantee, wanted.seed)
            outcomes[-1].back_at_work_s = run.back_at_work_s(wanted.outage_s)
        _print(outcomes[-1])
    return int(not all(o.holds for o in outcomes))


def _print(o: Outcome) -> None:
    figures = (o.guarantee, o.events, o.kills, o.broker_restarts, o.reloads, f"{o.seconds:.0f}", o.lost, o.doubled)
    more = (o.unexpected, o.letters_lost, o.letters_doubled, f"{o.back_at_work_s:.1f}")
    print("|", " | ".join(map(str, (*figures, *more))), "|", flush=True)  # noqa: T201
    for line in o.exits:
        print(line)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
