"""PartScanner: one worker of a distributed scan, with a reader of its own."""

from __future__ import annotations

import dataclasses
import logging
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import monitor
from monitor.config.sections import Config
from monitor.config.sinks import OtelConfig
from monitor.engine import Engine
from monitor.errors import LatentwatchError
from monitor.pipeline import Delivery, Pipeline, Totals
from monitor.scale.part_source import part_source
from monitor.scale.parts import Part
from monitor.scale.result_rows import ResultRows
from monitor.scale.results_folder import ResultsFolder
from monitor.telemetry.health import Health
from monitor.telemetry.log import configure_logging
from monitor.telemetry.telemetry import Stream, Telemetry

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PartResult:
    """What became of one part."""

    file: str
    number: int
    events: int = 0
    tokens: int = 0
    alerts: int = 0
    bad: int = 0
    error: str = ""
    """Why the part was not scanned; empty if it was."""


class PartScanner:
    """Scans parts one by one; a part's results are in the folder once it is done, and not before."""

    def __init__(self, config: Config, out: str, make_engine: Callable[[Config], Engine]) -> None:
        configure_logging(config.log)
        self._config = config
        self._out = ResultsFolder(out)
        self._engine = make_engine(config)
        self._telemetry = Telemetry(OtelConfig(), monitor.__version__, {}, Stream(system="file"))

    def scan(self, part: Part) -> PartResult:
        """The counts of the part, or why it can't be scanned."""
        try:
            return self._done(part, self._scan(part))
        except LatentwatchError as e:
            log.error("%s, part %d: %s", part.file, part.number, e)
            return PartResult(part.file, part.number, error=str(e))

    def _scan(self, part: Part) -> Totals:
        if self._out.has(part.name):
            return Totals()  # its worker died after it had written the results and before it could say so
        limits = self._config.events.limits
        with tempfile.TemporaryDirectory(prefix="latentwatch-results-") as folder:
            results = Path(folder) / part.name
            with part_source(part, limits.max_bytes) as source:
                rows = ResultRows(results)
                pipeline = Pipeline(
                    source,
                    self._engine,
                    Delivery([], rows, limits, self._config.events.body_format()),
                    self._telemetry,
                    Health(self._config.health.stalled_after_s),
                    threading.Event(),
                    on_evaluated=rows.evaluated,
                )
                totals = pipeline.run()
            rows.close()
            self._out.put(results, part.name)
        return totals

    def _done(self, part: Part, totals: Totals) -> PartResult:
        return dataclasses.replace(
            PartResult(part.file, part.number),
            events=totals.events,
            tokens=totals.tokens,
            alerts=totals.alerts,
            bad=totals.bad,
        )
