"""Measures how long a sidecar takes from the start of its process until it is ready, and its memory then."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import yaml

from monitor.bench.budget import Slice
from monitor.bench.results import StartResult
from monitor.bench.sidecar import sidecar_config
from monitor.config.sections import Config
from monitor.demo.broker import EmbeddedBroker
from monitor.demo.free_port import free_port
from monitor.demo.run import PARTITIONS
from monitor.demo.sidecar_process import SidecarProcess
from monitor.errors import Permanent

_TIMEOUT_S, _LEAST_S, _STOP_TIMEOUT_S = 120.0, 30.0, 30.0
_POLL_S = 0.02
# The embedded broker makes the first member of a group wait for others, for half of its session timeout
_SESSION_TIMEOUT_MS, _HEARTBEAT_MS = 2_000, 500


def measure_start(config: Config, bundle: Path, starts: int, budget: Slice) -> StartResult:
    """Starts `latentwatch run` with a bundle some times, each as the first member of a new consumer group.

    If `budget` is short, there are fewer starts. Raises LatentwatchError if broker or sidecar fail.
    """
    found: list[tuple[float, float, float, float]] = []
    with tempfile.TemporaryDirectory(prefix="latentwatch-bench-") as folder, EmbeddedBroker() as broker:
        broker.create_topics(PARTITIONS)
        while len(found) < starts and (not found or budget.left_s > 1.5 * found[-1][1]):
            path, port = Path(folder) / "config.yaml", free_port()
            precision = config.reader.precision
            own = sidecar_config(config, bundle, precision, broker.bootstrap_servers, Path(folder), port)
            own["source"] |= {
                "group_id": f"start-{len(found)}",
                "session_timeout_ms": _SESSION_TIMEOUT_MS,
                "heartbeat_interval_ms": _HEARTBEAT_MS,
            }
            path.write_text(yaml.safe_dump(own, sort_keys=False), encoding="utf-8")
            # the first start may take longer than its share; what comes after it gets less
            found.append(_start(path, port, min(_TIMEOUT_S, max(_LEAST_S, budget.left_s))))
    loaded_s, ready_s, rss_mb, shared_mb = (float(np.median(of)) for of in zip(*found, strict=True))
    return StartResult(len(found), loaded_s, ready_s, rss_mb, shared_mb)


def _start(config: Path, port: int, timeout_s: float) -> tuple[float, float, float, float]:
    """Seconds until all is loaded, and until /readyz answers 200; memory then, and its part in mapped files, in MB."""
    started = time.monotonic()
    loaded_s: float | None = None
    with SidecarProcess(config, port, config.with_suffix(".log")) as sidecar:
        while (reasons := sidecar.unready()) is None or reasons:
            now_s = time.monotonic() - started
            if loaded_s is None and reasons is not None and not reasons[0].startswith("loading"):
                loaded_s = now_s
            if now_s > timeout_s:
                raise Permanent(f"the sidecar was not ready within {timeout_s:.0f} s")
            sidecar.check_alive()
            time.sleep(_POLL_S)
        ready_s = time.monotonic() - started
        status = Path(f"/proc/{sidecar.pid}/status").read_text()  # proc(5)
        sidecar.stop(_STOP_TIMEOUT_S)
    return (
        ready_s if loaded_s is None else loaded_s,
        ready_s,
        _megabytes(status, "VmRSS"),
        _megabytes(status, "RssFile"),
    )


def _megabytes(status: str, key: str) -> float:
    for line in status.splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024 / 1e6
    return float("nan")
