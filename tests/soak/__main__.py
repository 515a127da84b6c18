"""`python -m tests.soak`: one sidecar at saturation for half an hour; prints growth, lag and the time to recover."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.brokers import ApacheKafka, kafka_home
from tests.soak.run import SoakRun

_WARM_UP = 1 / 6
_MOST_GROWTH = 0.03


def main() -> int:
    """Returns 1 if memory, threads or descriptors grew."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30, help="at saturation; the first sixth is warm-up")
    parser.add_argument("--load-minutes", type=float, default=5, help="at nine tenths of the rate")
    parser.add_argument("--outage-s", type=float, default=60, help="how long the broker is down in the end")
    wanted = parser.parse_args()
    home = kafka_home()
    if home is None:
        sys.exit("set KAFKA_HOME to an Apache Kafka download (and install Java)")
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    (folder / "kafka").mkdir()
    _say(f"logs in {folder}")
    with ApacheKafka(home, folder / "kafka") as broker, SoakRun(broker, folder, _say) as run:
        growth, per_s = run.saturated(wanted.minutes * 60, _WARM_UP)
        start, end = growth.start, growth.end
        _say(f"{wanted.minutes:g} minutes at saturation: {per_s:.1f} events/s")
        _say(f"RSS {start.rss_mb:.0f} MB after warm-up, {end.rss_mb:.0f} MB at the end: {growth.rss:+.1%}")
        _say(f"threads {start.threads} and {end.threads}, descriptors {start.descriptors} and {end.descriptors}")
        load = run.below(0.9 * per_s, wanted.load_minutes * 60)
        _say(f"at {load.per_s:.1f} events/s: lag {load.lag:.0f} events in the second half, {load.most_lag} at most")
        recovery_s = run.recovery_s(wanted.outage_s)
        _say(
            f"after an outage of {wanted.outage_s:g} s: at work {recovery_s:.1f} s after the broker; then {run.usage()}"
        )
    more = growth.rss >= _MOST_GROWTH or end.threads > start.threads or end.descriptors > start.descriptors
    return int(more)


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
