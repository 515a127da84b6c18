"""RayScan: parts scanned by workers of a Ray cluster, or of one that is started on this machine."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from monitor.config.sections import Config
from monitor.errors import ConfigError, LatentwatchError, Permanent
from monitor.scale.parts import Part

if TYPE_CHECKING:
    from monitor.engine import Engine
    from monitor.scale.part_scanner import PartResult

_PROBLEM = "worker_problem"
"""Column of results: why the worker could not start; empty if it did."""
_OBJECT_STORE_BYTES = 104_857_600
"""Of a cluster on this machine. Only names of parts and counts travel through it."""


def scan_with_ray(
    parts: Sequence[Part],
    config: Config,
    out: str,
    make_engine: Callable[[Config], Engine],
    workers: int | None = None,
) -> Iterator[PartResult]:
    """Scans parts in any order; hands out what became of each.

    Uses the cluster that RAY_ADDRESS names. Without it, starts one on this machine that ends with the scan and
    listens only on loopback. Every worker has `config.reader.threads` cores and a reader of its own. If a worker dies,
    Ray starts another one, which scans its part again. `workers` is at most that many; None: as many as have room.

    Raises ConfigError if Ray is missing or has no room for a worker, or if a worker can't load its reader, and
    Permanent if Ray gives up.
    """
    from monitor.scale.part_scanner import PartResult

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing about a deployment leaves it
    if not os.environ.get("RAY_ADDRESS"):
        # makes Ray use the loopback address, which it only does by default where this is 0
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    try:
        import ray
        from ray.data import ActorPoolStrategy, DataContext
        from ray.exceptions import RayError
    except ImportError:
        raise ConfigError("--engine: ray needs: pip install 'latentwatch[ray]'") from None
    threads = config.reader.threads
    _connect(ray, threads, workers)
    try:
        room = int(ray.cluster_resources().get("CPU", 0)) // threads
        if not room:
            raise ConfigError(f"reader.threads: {threads}: the Ray cluster has fewer cores")
        logging.getLogger("ray.data").setLevel(logging.WARNING)
        context = DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.execution_no_progress_timeout_s = -1  # a part may take hours
        gpus = {"num_gpus": 1} if config.reader.device.startswith("cuda") else {}
        rows = [dataclasses.asdict(part) for part in parts]
        results = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            _Worker,
            fn_constructor_args=(config, out, make_engine),
            batch_size=1,
            compute=ActorPoolStrategy(size=min(room, workers or room, len(rows))),
            num_cpus=threads,
            **gpus,
        )
        for row in results.iter_rows():
            if problem := row.pop(_PROBLEM):
                raise ConfigError(f"a worker cannot start: {line}" for line in problem.splitlines())
            yield PartResult(**row)
    except RayError as e:
        raise Permanent(f"Ray gave up: {str(e).strip().splitlines()[-1]}") from None
    finally:
        ray.shutdown()


class _Worker:
    """A PartScanner that takes and gives batches of one row, as Ray Data hands them out."""

    def __init__(self, config: Config, out: str, make_engine: Callable[[Config], Engine]) -> None:
        from monitor.scale.part_scanner import PartScanner

        self._problem = ""
        try:
            self._scanner = PartScanner(config, out, make_engine)
        except LatentwatchError as e:
            self._problem = str(e)  # handed out as a result, because Ray would try again and print a traceback

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        from monitor.scale.part_scanner import PartResult

        part = Part(**{name: column.tolist()[0] for name, column in batch.items()})
        done = PartResult(part.file, part.number) if self._problem else self._scanner.scan(part)
        row = {**dataclasses.asdict(done), _PROBLEM: self._problem}
        return {name: [value] for name, value in row.items()}


def _connect(ray: Any, threads: int, workers: int | None) -> None:
    quiet = {"log_to_driver": True, "logging_level": logging.ERROR}
    if os.environ.get("RAY_ADDRESS"):
        ray.init(**quiet)
        return
    ray.init(
        address="local",
        num_cpus=None if workers is None else threads * workers,
        include_dashboard=False,
        object_store_memory=_OBJECT_STORE_BYTES,
        **quiet,
    )
