"""The command `latentwatch replay`: reads part of a topic or a file again and says what alerts come of it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.cli.exit_code import ExitCode
from monitor.cli.options import ConfigOption, DeviceOption
from monitor.cli.shutdown import closing_all, stop_on_signals
from monitor.cli.wiring import load_sets, load_settings, make_delivery, make_telemetry, open_schema_registry
from monitor.errors import ConfigError

if TYPE_CHECKING:
    import threading

    from monitor.alerts.alert import Alert
    from monitor.config.sections import Config
    from monitor.events.event import Record
    from monitor.events.unread_range import UnreadRange
    from monitor.pipeline import Totals
    from monitor.sources.source import Source

log = logging.getLogger("monitor")

FromOption = Annotated[
    str | None,
    typer.Option("--from", help="Only records of this time or later: 2026-11-30T14:00:00Z.", show_default=False),
]
ToOption = Annotated[str | None, typer.Option("--to", help="Only records from before this time.", show_default=False)]
OffsetsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--offsets",
        metavar="PARTITION:FIRST-LAST",
        help="Only these offsets, both included; give it once for each partition.",
        show_default=False,
    ),
]


def replay(
    file: Annotated[
        str | None,
        typer.Argument(help="File of events as for `scan` (default: source.topic of the config).", show_default=False),
    ] = None,
    config: ConfigOption = None,
    candidate: Annotated[
        Path | None,
        typer.Option("--candidate", help="Another config file, to compare its alerts with.", show_default=False),
    ] = None,
    start: FromOption = None,
    end: ToOption = None,
    offsets: OffsetsOption = None,
    skipped: Annotated[
        bool,
        typer.Option("--skipped", help="Only what an overload skipped; --from and --to then say when it was skipped."),
    ] = False,
    examples: Annotated[int, typer.Option(min=0, help="Most examples of each kind of change of a set.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    device: DeviceOption = None,
) -> None:
    """Read a range of the topic again, and say what alerts come of it, or how those of another config differ.

    Delivers nothing, joins no group and commits no offset. Exits with code 1 if a candidate's alerts differ.
    """
    configs = [load_settings(path, device) for path in (config, *([candidate] if candidate is not None else []))]
    from rich.console import Console

    from monitor.report.replay_difference import ReplayDifference
    from monitor.telemetry.log import configure_logging

    configure_logging(configs[0].log)
    console, errors = Console(), Console(stderr=True)
    stop = stop_on_signals()
    difference = ReplayDifference(len(configs) > 1, examples)
    with closing_all() as opened:
        if skipped:
            source = _open_skipped(configs[0], file, start, end, offsets or ())
        else:
            source = open_range(configs[0], file, start, end, offsets or ())
        opened.append(source.close)
        sides = [Side(settings, stop, opened) for settings in configs]
        with errors.status("reading", spinner="dots") if errors.is_terminal else nullcontext():
            while not source.exhausted and not stop.is_set():
                polled = source.poll()
                # the second side is the first one, if there is no candidate
                found = [side.alerts_in(polled) for side in sides]
                difference.add(found[0], found[-1])
    totals = {"before": sides[0], "after": sides[-1]} if candidate is not None else {"config": sides[0]}
    if as_json:
        data: dict[str, Any] = {name: side.to_json() for name, side in totals.items()}
        print(json.dumps({**data, "sets": difference.to_json()}, indent=2, ensure_ascii=True))  # noqa: T201
    else:
        console.print(difference, highlight=False, soft_wrap=True)
        for name, side in totals.items():
            errors.print(f"{name}: {side}", highlight=False)
    if stop.is_set():
        raise typer.Exit(ExitCode.FAILED)
    if difference.differs:
        raise typer.Exit(ExitCode.DIFFERENT)


def open_range(
    settings: Config,
    file: str | None,
    start: str | None,
    end: str | None,
    offsets: Sequence[str],
    topic: str | None = None,
) -> Source:
    """The records that a user asks for; of `topic`, or of the one that events come from. Raises ConfigError."""
    from monitor.sources.file import FileSource
    from monitor.sources.topic_range import TopicRange
    from monitor.sources.topic_sample import TopicSample

    wanted = TopicRange.of_options(start, end, offsets)
    if file is not None:
        if wanted != TopicRange():
            raise ConfigError("--from, --to, --offsets: are for topics; a file is read from its beginning to its end")
        return FileSource(file, settings.events.max_bytes)
    if topic is None and settings.source.kind == "http":
        raise ConfigError("source.kind: events that came over HTTP are kept nowhere; name a file of events")
    return TopicSample(settings.kafka, settings.source, topic or settings.source.topic, wanted)


def _open_skipped(
    settings: Config, file: str | None, start: str | None, end: str | None, offsets: Sequence[str]
) -> Source:
    from monitor.sources.skipped_records import SkippedRecords
    from monitor.sources.topic_range import TopicRange

    if file is not None or offsets:
        raise ConfigError("--skipped: reads overload.topic; it can be combined with --from and --to only")
    wanted = TopicRange.of_options(start, end, ())
    return SkippedRecords.of_topic(settings.kafka, settings.source, settings.overload.topic, wanted)


class Side:
    """One config, and what it makes of records."""

    def __init__(self, settings: Config, stop: threading.Event, opened: list[Callable[[], None]]) -> None:
        """Loads model and feature sets; what must be closed goes to `opened`."""
        from monitor.assembly.artefacts import load_artefacts
        from monitor.assembly.build import build_engine
        from monitor.config.sinks import OtelConfig
        from monitor.pipeline import Pipeline
        from monitor.sinks.collected import CollectedAlerts, ToldRecords
        from monitor.sources.given import GivenRecords
        from monitor.telemetry.health import Health

        sets = load_sets(settings)
        engine = build_engine(settings, load_artefacts(settings, sets), log.info)
        telemetry = make_telemetry(settings, OtelConfig(), sets[0].shipped.reader)
        opened.append(telemetry.shutdown)
        self._settings = settings
        self._given = GivenRecords()
        self._alerts = CollectedAlerts()
        self._pipeline = Pipeline(
            self._given,
            engine,
            make_delivery(
                settings, [self._alerts], ToldRecords(lambda *_: None), open_schema_registry(settings, opened)
            ),
            telemetry,
            Health(settings.health.stalled_after_s),
            stop,
        )

    def alerts_in(self, records: Sequence[Record | UnreadRange]) -> list[Alert]:
        """The alerts on these records."""
        self._given.give(records)
        self._pipeline.run()
        return self._alerts.take()

    @property
    def totals(self) -> Totals:
        """What was read so far."""
        return self._pipeline.totals

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        t = self.totals
        return {
            "config_sha256": self._settings.sha256(),
            "records": t.records,
            "events": t.events,
            "alerts": t.alerts,
            "bad": t.bad,
            "unread": t.unread,
            "silenced": t.silenced,
            "abstained": t.abstained,
            "sampled_out": t.sampled_out,
        }

    def __str__(self) -> str:
        t = self.totals
        text = f"{t.events} events, {t.alerts} alerts, {t.bad} bad"
        more = (
            (t.unread, "offsets unread"),
            (t.silenced, "alerts silenced"),
            (t.abstained, "times a set abstained because of the language"),
            (t.sampled_out, "events sampled out"),
        )
        return text + "".join(f", {count} {what}" for count, what in more if count)
