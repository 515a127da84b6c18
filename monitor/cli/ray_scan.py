"""`latentwatch scan --engine ray`: files or folders of events through the workers of a Ray cluster."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from monitor.cli.exit_code import ExitCode
from monitor.cli.wiring import load_sets
from monitor.errors import ConfigError

if TYPE_CHECKING:
    from monitor.config.sections import Config
    from monitor.engine import Engine
    from monitor.scale.part_scanner import PartResult
    from monitor.sets.load import LoadedSet

log = logging.getLogger("monitor")

_DECIDES = ("events", "reader", "feature_sets", "alerts")
"""Sections of the config that decide what the results say."""


def scan_on_ray(settings: Config, path: str, out: str | None, bad: Path | None, workers: int | None) -> None:
    """Scans what is not scanned yet. Exits with code 1 if a part failed, and 3 if records could not be read."""
    from monitor.scale.parts import find_parts
    from monitor.scale.ray_scan import scan_with_ray
    from monitor.scale.results_folder import ResultsFolder
    from monitor.telemetry.log import configure_logging

    if out is None:
        raise ConfigError("--out: --engine ray needs a folder or a URI for the results")
    if bad is not None:
        raise ConfigError("--bad: --engine ray writes records that cannot be read into the results, column error")
    configure_logging(settings.log)
    # all workers of a machine share its cores, so each gets one unless the config says otherwise
    settings = settings.changed(reader=settings.reader.changed(threads=settings.reader.threads or 1))
    _require_pyarrow()
    parts = find_parts(path)
    folder = ResultsFolder(out)
    done = folder.prepare(_about(settings, load_sets(settings)), parts)
    left = [part for part in parts if part.name not in done]
    log.info("%d parts to scan, %d are done", len(left), len(parts) - len(left))
    failed = _report(scan_with_ray(left, settings, out, build_scan_engine, workers), len(left)) if left else False
    folder.remove_unfinished()
    if failed:
        raise typer.Exit(failed)


def build_scan_engine(settings: Config) -> Engine:
    """A worker's own engine."""
    from monitor.assembly.artefacts import load_artefacts
    from monitor.assembly.build import build_engine

    return build_engine(settings, load_artefacts(settings, load_sets(settings)), log.info)


def _require_pyarrow() -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise ConfigError("--engine: ray needs: pip install 'latentwatch[ray]'") from None


def _about(settings: Config, sets: Iterable[LoadedSet]) -> dict[str, str]:
    """What results depend on; two scans that differ in it must not share a folder."""
    import monitor

    sections = settings.model_dump(mode="json", include=set(_DECIDES))
    return {
        "latentwatch": monitor.__version__,
        "config": _sha256(sections),
        "sets": _sha256({loaded.set.id: loaded.sha256 for loaded in sets}),
    }


def _sha256(data: object) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def _report(results: Iterable[PartResult], total: int) -> ExitCode | None:
    """Shows progress; the exit code that the results ask for."""
    from rich.console import Console

    from monitor.demo.progress import ProgressLine

    console = Console(stderr=True)
    errors: list[PartResult] = []
    done = events = tokens = alerts = bad = 0
    with ProgressLine(console) as progress:
        for result in results:
            done += 1
            if result.error:
                errors.append(result)
            events, tokens = events + result.events, tokens + result.tokens
            alerts, bad = alerts + result.alerts, bad + result.bad
            progress.update("scanning", f"{done} of {total} parts, {events} events, {alerts} alerts")
    console.print(f"{events} events, {tokens} tokens, {alerts} alerts, {bad} bad", highlight=False)
    for result in errors:
        console.print(f"error: {result.file}, part {result.number}: {result.error}", highlight=False, markup=False)
    if errors:
        return ExitCode.FAILED
    return ExitCode.BAD_EVENTS if bad else None
