"""ChaosRun: three workers that are killed at random while a broker restarts and the config changes."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.alert_factory import make_alert
from tests.brokers import ApacheKafka
from tests.chaos.worker import PAUSE
from tests.feature_set_factory import write_set
from tests.integration.stream import Outgoing, Stream

ROOT = Path(__file__).parents[2]
WORKERS = 3
_BAD_EVERY = 50
_SECONDS_PER_EVENT = "0.004"
_STUCK_S = 180.0


@dataclass
class Outcome:
    """What was done to the workers, and what became of the events."""

    guarantee: str
    events: int
    kills: int = 0
    broker_restarts: int = 0
    reloads: int = 0
    seconds: float = 0.0
    lost: int = 0
    doubled: int = 0
    unexpected: int = 0
    letters_lost: int = 0
    letters_doubled: int = 0
    back_at_work_s: float = 0.0
    """After an outage of the broker."""
    exits: list[str] = field(default_factory=list)
    """Workers that ended although nobody killed them."""

    @property
    def holds(self) -> bool:
        """Whether the guarantee was kept."""
        once = self.guarantee == "at_least_once" or not (self.doubled or self.letters_doubled)
        return once and not (self.lost or self.letters_lost or self.unexpected or self.exits)


class ChaosRun:
    """Publishes events piece by piece, and kills a worker after each piece."""

    def __init__(self, broker: ApacheKafka, folder: Path, guarantee: str, seed: int) -> None:
        self._broker = broker
        self._folder = folder
        self._guarantee = guarantee
        self._chance = random.Random(seed)  # noqa: S311
        self._stream = Stream(broker)
        self._workers: list[subprocess.Popen[bytes]] = []
        write_set(folder / "sets" / "a.yaml")

    def run(self, events: int, kills: int, broker_restarts: int) -> Outcome:
        """Returns when every event is committed. Raises RuntimeError if that does not come to pass."""
        done = Outcome(self._guarantee, events)
        started = time.monotonic()
        self._write_config(0)
        self._workers = [self._start(slot) for slot in range(WORKERS)]
        restart_at = {round((n + 1) * kills / (broker_restarts + 1)) for n in range(broker_restarts)}
        try:
            for step in range(kills):
                slot = step % WORKERS
                first, last = events * step // kills, events * (step + 1) // kills
                self._stream.publish([_record(n) for n in range(first, last)])
                self._wait_until_at_work(slot)
                time.sleep(self._chance.uniform(0, 1))
                self._note_exit(slot, done)
                self._workers[slot].kill()
                self._workers[slot].wait()
                done.kills += 1
                if step in restart_at:
                    self._broker.kill()
                    time.sleep(self._chance.uniform(0, 3))
                    self._broker.start()
                    done.broker_restarts += 1
                if step % 5 == 4:
                    done.reloads += 1
                    self._write_config(done.reloads)
                self._workers[slot] = self._start(slot)
            self._wait_until_committed()
            for slot in range(WORKERS):
                self._note_exit(slot, done)
        finally:
            for worker in self._workers:
                worker.terminate()
            for worker in self._workers:
                worker.wait(30)
        done.seconds = time.monotonic() - started
        self._count(done)
        return done

    def back_at_work_s(self, outage_s: float) -> float:
        """Seconds from when the broker's port opens again to the commit of an event that is published then."""
        self._write_config(0)
        worker = self._start(0)
        self._workers = [worker]
        try:
            self._stream.publish([_record(n) for n in range(30)])
            self._wait_until_committed()
            self._broker.kill()
            time.sleep(outage_s)
            self._broker.start()
            returned_at_s = time.monotonic()
            self._stream.publish([_record(n) for n in range(3)])
            while not self._stream.all_committed():
                if time.monotonic() - returned_at_s > _STUCK_S:
                    raise RuntimeError(f"not back at work within {_STUCK_S:.0f} s; see {self._log(0)}")
            return time.monotonic() - returned_at_s
        finally:
            worker.terminate()
            worker.wait(30)

    def _note_exit(self, slot: int, done: Outcome) -> None:
        code = self._workers[slot].poll()
        if code is not None:
            done.exits.append(f"worker {slot} ended with code {code}; see {self._log(slot)}")

    def _start(self, slot: int) -> subprocess.Popen[bytes]:
        names = {"LATENTWATCH__DELIVERY__TRANSACTIONAL_ID": f"{self._stream.group}-{slot}", PAUSE: _SECONDS_PER_EVENT}
        command = [sys.executable, "-m", "tests.chaos.worker", "run", "-c", str(self._folder / "config.yaml")]
        with self._log(slot).open("wb") as log:
            return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **names}, stderr=log)

    def _log(self, slot: int) -> Path:
        return self._folder / f"worker-{slot}.log"

    def _wait_until_at_work(self, slot: int) -> None:
        """A worker that is killed before it has partitions would prove little."""
        give_up_at_s = time.monotonic() + _STUCK_S
        while self._workers[slot].poll() is None and not self._is_at_work(slot):
            if time.monotonic() > give_up_at_s:
                raise RuntimeError(f"worker {slot} was given no partitions within {_STUCK_S:.0f} s; see {self._folder}")
            time.sleep(0.05)

    def _is_at_work(self, slot: int) -> bool:
        said = self._log(slot).read_bytes()
        # a worker that has partitions at its first look doesn't say so
        return b"consumer: ready" in said or b"first alert delivered" in said

    def _write_config(self, version: int) -> None:
        stream = self._stream
        data: dict[str, Any] = {
            "delivery": {"guarantee": self._guarantee},
            "kafka": {"bootstrap_servers": self._broker.bootstrap_servers, "request_timeout_ms": 5_000},
            "source": {
                "topic": stream.events,
                "group_id": stream.group,
                "dead_letter_topic": stream.dead_letters,
                "session_timeout_ms": 2_000,
                "heartbeat_interval_ms": 250,
                "poll_timeout_ms": 200,
                "max_poll_records": 32,
            },
            "sinks": {"kafka": {"topic": stream.alerts}},
            "feature_sets": {"paths": [str(self._folder / "sets")]},
            "alerts": {"top_tokens": 1 + version % 5},
            "health": {"enabled": False},
        }
        new = self._folder / "config.new"
        new.write_text(json.dumps(data))
        new.replace(self._folder / "config.yaml")

    def _wait_until_committed(self) -> None:
        before, changed_at = Counter[int](), time.monotonic()
        while not self._stream.all_committed():
            now = Counter(self._stream.committed())
            if now != before:
                before, changed_at = now, time.monotonic()
            if time.monotonic() - changed_at > _STUCK_S:
                raise RuntimeError(f"no commit for {_STUCK_S:.0f} s: {dict(before)} of {dict(self._stream.published)}")
            time.sleep(0.5)

    def _count(self, done: Outcome) -> None:
        good = {make_alert(_id(n)).id for n in range(done.events) if not _is_bad(n)}
        alerts = Counter(alert.id for alert in self._stream.delivered())
        done.lost = len(good - alerts.keys())
        done.unexpected = len(alerts.keys() - good)
        done.doubled = alerts.total() - len(alerts)
        bad = {_id(n).encode() for n in range(done.events) if _is_bad(n)}
        letters = Counter(record.key for record in self._stream.refused())
        done.letters_lost = len(bad - letters.keys())
        done.letters_doubled = letters.total() - len(letters)


def _is_bad(number: int) -> bool:
    return number % _BAD_EVERY == _BAD_EVERY - 1


def _id(number: int) -> str:
    return f"e{number}"


def _record(number: int) -> Outgoing:
    value = b"not an event" if _is_bad(number) else json.dumps({"id": _id(number), "response": "x"}).encode()
    return Outgoing(value, _id(number).encode())
