"""The command `latentwatch dead-letters replay`: reads dead letters again and delivers what is good by now."""

from __future__ import annotations

import json
import logging
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.cli.exit_code import ExitCode
from monitor.cli.options import ConfigOption, DeviceOption
from monitor.cli.replay import FromOption, OffsetsOption, ToOption, open_range
from monitor.cli.shutdown import closing_all, stop_on_signals
from monitor.cli.wiring import load_sets, load_settings, make_delivery, make_telemetry, open_schema_registry

if TYPE_CHECKING:
    from monitor.errors import BadEvent
    from monitor.events.event import Record

log = logging.getLogger("monitor")

dead_letters_app = typer.Typer(help="Read dead letters again.", no_args_is_help=True)


@dead_letters_app.callback()
def _group() -> None:
    pass


@dead_letters_app.command("replay")
def replay_dead_letters(
    file: Annotated[
        str | None,
        typer.Argument(
            help="File that `scan --bad` wrote (default: source.dead_letter_topic of the config).", show_default=False
        ),
    ] = None,
    config: ConfigOption = None,
    start: FromOption = None,
    end: ToOption = None,
    offsets: OffsetsOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Deliver nothing; only say what is good by now.")] = False,
    examples: Annotated[int, typer.Option(min=0, help="Most examples of each reason why a letter is bad.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    device: DeviceOption = None,
) -> None:
    """Read dead letters with this version and config, and deliver the alerts of those that are good by now.

    The letters stay where they are. Doing it again delivers the same alerts under the same ids. Exits with code 3 if
    some letters are still bad.
    """
    settings = load_settings(config, device)
    from rich.console import Console

    from monitor.assembly.artefacts import load_artefacts
    from monitor.assembly.build import build_engine
    from monitor.config.sinks import OtelConfig
    from monitor.pipeline import Pipeline
    from monitor.sinks.collected import CollectedAlerts, ToldRecords
    from monitor.sinks.open import close_sinks, open_sinks
    from monitor.sinks.sink import Sink, SinkContext
    from monitor.sinks.status import SinkStatus
    from monitor.sources.dead_letters import DeadLetterSource
    from monitor.telemetry.health import Health
    from monitor.telemetry.log import configure_logging

    configure_logging(settings.log)
    bad = StillBad(examples)
    stop = stop_on_signals()
    health = Health(settings.health.stalled_after_s)
    with closing_all() as opened:
        letters = open_range(settings, file, start, end, offsets or (), settings.source.dead_letter_topic)
        source = DeadLetterSource(letters, file is not None, bad.add)
        opened.append(source.close)
        sets = load_sets(settings)
        engine = build_engine(settings, load_artefacts(settings, sets), log.info)
        telemetry = make_telemetry(settings, OtelConfig(), sets[0].shipped.reader)
        opened.append(telemetry.shutdown)
        sinks: list[Sink] = [CollectedAlerts()]
        if not dry_run:
            context = SinkContext(settings.kafka, telemetry)
            sinks = open_sinks(settings.sinks, context, SinkStatus(telemetry, health))
            opened.append(lambda: close_sinks(sinks))
        delivery = make_delivery(settings, sinks, ToldRecords(bad.add), open_schema_registry(settings, opened))
        totals = Pipeline(source, engine, delivery, telemetry, health, stop).run()
    good = totals.records - totals.bad
    if as_json:
        data = {"good": good, "events": totals.events, "alerts": totals.alerts, "delivered": not dry_run}
        print(json.dumps({**data, **bad.to_json()}, indent=2, ensure_ascii=True))  # noqa: T201
    else:
        console = Console()
        for line in bad.lines():
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        did = "would be delivered" if dry_run else "delivered"
        summary = f"dead letters: {good} are good now, {bad.total} still bad; alerts {did}: {totals.alerts}"
        console.print(summary, highlight=False, markup=False)
    if stop.is_set():
        raise typer.Exit(ExitCode.FAILED)
    if bad.total:
        raise typer.Exit(ExitCode.BAD_EVENTS)


class StillBad:
    """Counts the letters that are still bad, by kind, and keeps a few examples of each."""

    def __init__(self, most_examples: int) -> None:
        self._most = most_examples
        self._counts: Counter[str] = Counter()
        self._examples: dict[str, list[tuple[str, str]]] = {}

    @property
    def total(self) -> int:
        """All of them."""
        return self._counts.total()

    def add(self, record: Record, error: BadEvent) -> None:
        """One letter and what is wrong with it."""
        self._counts[error.kind] += 1
        kept = self._examples.setdefault(error.kind, [])
        if len(kept) < self._most:
            origin = record.origin
            kept.append((f"{origin.topic}:{origin.partition}:{origin.offset}", str(error)))

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        kinds = {
            kind: {"letters": count, "examples": [{"origin": o, "reason": r} for o, r in self._examples[kind]]}
            for kind, count in sorted(self._counts.items())
        }
        return {"still_bad": self.total, "kinds": kinds}

    def lines(self) -> list[str]:
        """For a terminal."""
        from monitor.report.visible_text import visible_line

        found = []
        for kind, count in sorted(self._counts.items()):
            found.append(f"still bad ({kind}): {count}")
            found += [f"  {visible_line(o)}: {visible_line(r)}" for o, r in self._examples[kind]]
        return found
