"""Compares a sidecar behind Kafka with only its engine on the same events."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import yaml

from monitor.bench.budget import Slice
from monitor.bench.readers import make_latentwatch
from monitor.bench.results import PipelineResult
from monitor.bench.sidecar import sidecar_config
from monitor.bench.sizes import Sizes
from monitor.bench.worker_process import WorkerProcess
from monitor.bench.workloads import short_chats, wire
from monitor.config.sections import Config
from monitor.demo.broker import EmbeddedBroker
from monitor.demo.free_port import free_port
from monitor.demo.run import GROUP, PARTITIONS
from monitor.demo.sidecar_process import SidecarProcess
from monitor.demo.topics import DemoTopics
from monitor.errors import Permanent
from monitor.events.event import Event

_LEAST_EVENTS = 16
"""A round of fewer says too little to be shown."""
_READY_TIMEOUT_S, _STALL_S, _STOP_TIMEOUT_S = 300.0, 120.0, 60.0
# Polling offsets takes CPU time from the sidecar, so polling starts only after this share of the engine's time
_POLL_S, _SLEEP_SHARE = 0.02, 0.9
_WARM_UP = 16


def measure_pipeline(config: Config, bundle: Path, precision: str, sizes: Sizes, budget: Slice) -> PipelineResult:
    """Measures rounds of short chats, each first with the engine and then through broker and sidecar.

    The chats are short because Kafka costs time per event and reading per token. Every round has new events, so that
    no prefix cache holds them. If `budget` is short, there are fewer rounds of fewer events. Raises LatentwatchError if
    broker or sidecar fail, or if there is no time for enough events.
    """
    engine_reader = (f"onnx_{precision}_confirmed", config, bundle)
    with (
        tempfile.TemporaryDirectory(prefix="latentwatch-bench-") as folder,
        EmbeddedBroker() as broker,
        WorkerProcess(make_latentwatch, *engine_reader) as engine,
    ):
        broker.create_topics(PARTITIONS)
        path, port = Path(folder) / "config.yaml", free_port()
        served = sidecar_config(config, bundle, precision, broker.bootstrap_servers, Path(folder), port)
        path.write_text(yaml.safe_dump(served, sort_keys=False), encoding="utf-8")
        with (
            DemoTopics(broker.bootstrap_servers, GROUP) as topics,
            SidecarProcess(path, port, Path(folder) / "sidecar.log") as sidecar,
        ):
            sidecar.wait_ready(min(_READY_TIMEOUT_S, budget.left_s))
            engine.wait_made(max(1.0, budget.left_s))  # it has loaded at the same time
            path_through_kafka = KafkaPath(topics, sidecar.check_alive)
            warm_up = short_chats(_WARM_UP, "warm-up")
            event_s = path_through_kafka.seconds(warm_up) / _WARM_UP
            engine.call("run", warm_up)
            # a round reads every event twice, and the events of all rounds have to fit
            count = budget.fits(sizes.pipeline_events, 2 * sizes.pipeline_rounds * event_s)
            if count < min(_LEAST_EVENTS, sizes.pipeline_events):
                raise Permanent(f"left out: there is time for {count} of {sizes.pipeline_events} events a round")
            engine_only: list[float] = []
            whole: list[float] = []
            for n in range(sizes.pipeline_rounds):
                if whole and budget.left_s < engine_only[-1] + whole[-1]:
                    break
                events = short_chats(count, f"pipeline-{n}")
                engine_only.append(float(engine.call("run", events).seconds))
                whole.append(path_through_kafka.seconds(events, engine_only[-1]))
            sidecar.stop(_STOP_TIMEOUT_S)
    overheads = [100 * (w / a - 1) for w, a in zip(whole, engine_only, strict=True)]
    return PipelineResult(
        events=count,
        rounds=len(whole),
        events_per_s=count / float(np.median(whole)),
        engine_events_per_s=count / float(np.median(engine_only)),
        overhead_percent=float(np.median(overheads)),
        spread_percent=max(overheads) - min(overheads),
    )


class KafkaPath:
    """Times events from publication to their commit, which comes after the last sink."""

    def __init__(self, topics: DemoTopics, check_alive: Callable[[], None]) -> None:
        """`check_alive` raises Permanent if no sidecar will commit any more."""
        self._topics = topics
        self._check_alive = check_alive
        self._published: Counter[int] = Counter()

    def seconds(self, events: list[Event], engine_s: float = 0.0) -> float:
        """Seconds until all events are committed. `engine_s` is what the engine takes for them."""
        records = [(event.id, wire(event)) for event in events]
        started = time.monotonic()
        self._published.update(self._topics.publish("llm.events", records))
        time.sleep(max(0.0, started + _SLEEP_SHARE * engine_s - time.monotonic()))
        moved = time.monotonic()
        done, total = 0, self._published.total()
        while done < total:
            time.sleep(_POLL_S)
            now = self._topics.committed("llm.events", self._published)
            if now > done:
                done, moved = now, time.monotonic()
            self._check_alive()
            if time.monotonic() - moved > _STALL_S:
                raise Permanent(f"{done} of {total} events committed, then none for {_STALL_S:.0f} s")
        return time.monotonic() - started
