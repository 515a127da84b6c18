"""The command `latentwatch verify`: whether the features of an alert matter for the text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli.options import ConfigOption, DeviceOption
from monitor.cli.wiring import load_settings
from monitor.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from monitor.alerts.alert import Alert
    from monitor.config.sections import Config
    from monitor.events.event import Event
    from monitor.lab.steering.causal_evidence import CausalEvidence

_MAX_LINE_BYTES = 16 * 2**20


def verify(
    alert_file: Annotated[
        Path | None,
        typer.Argument(metavar="[ALERT.json]", help="File with one alert as JSON.", show_default=False),
    ] = None,
    alert_id: Annotated[
        str | None, typer.Option("--id", help="Id of the alert, with --source.", show_default=False)
    ] = None,
    source: Annotated[
        Path | None, typer.Option(help="JSONL file of alerts, as the file sink writes it.", show_default=False)
    ] = None,
    events: Annotated[
        str | None,
        typer.Option(
            help="File of events with the alert's text (default: the text in the alert, or its record in Kafka).",
            show_default=False,
        ),
    ] = None,
    set_name: Annotated[
        str | None,
        typer.Option("--set", help="The alert's set, as a YAML file or an id (default: its id).", show_default=False),
    ] = None,
    controls: Annotated[int, typer.Option(help="Other directions to compare with.", min=2, max=200)] = 16,
    seed: Annotated[int, typer.Option(help="Seed of the controls and of the intervals.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    config: ConfigOption = None,
    device: DeviceOption = None,
) -> None:
    """Ablate an alert's features in its text, and measure what the model then predicts; needs latentwatch\\[lab].

    The causal weight is the fall of the log-likelihood of the flagged tokens, minus that under equally large changes
    in other directions. Only the reader model is run: this says nothing about the model that wrote the text.
    """
    alert = _alert(alert_file, alert_id, source)
    settings = load_settings(config, device)
    settings = settings.changed(reader=settings.reader.changed(engine="torch", bundle=None))
    from rich.console import Console

    from monitor.lab.commands.extra import lab_extra

    with lab_extra():
        from monitor.lab.reading.hook import hook_of_set
        from monitor.lab.steering.causal_evidence import EvidenceRequest, causal_evidence
        from monitor.lab.steering.rig import SteeringRig
    event = _event(alert, events, settings)
    rig = SteeringRig(hook_of_set(settings, set_name or alert.set.id), settings)
    if rig.hook.reader.sae.sha256 != alert.reader.sae_sha256:
        raise ConfigError(f"alert {alert.id}: it was read with another SAE than {rig.hook.sae_folder}")
    found = causal_evidence(rig, alert, event, EvidenceRequest(controls, seed))
    if as_json:
        print(json.dumps(found.row(), indent=2, ensure_ascii=False))  # noqa: T201
    else:
        _show(Console(), found)


def _alert(file: Path | None, alert_id: str | None, source: Path | None) -> Alert:
    from monitor.alerts.alert import Alert

    if (file is None) == (source is None) or (source is None) != (alert_id is None):
        raise ConfigError("give either the file of one alert, or --id with --source")
    path = file or source or Path()
    for number, line in enumerate(_lines(path, whole=file is not None), start=1):
        if alert_id is not None and alert_id.encode() not in line:
            continue
        try:
            alert = Alert.from_json(line)
        except ValueError as e:
            problem = str(e).splitlines()[0]
            raise ConfigError(f"{path}:{number}: not an alert: {problem}") from None
        if alert_id is None or alert.id == alert_id:
            return alert
    raise ConfigError(f"{path}: no alert has the id {alert_id}")


def _lines(path: Path, whole: bool) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while line := file.read(_MAX_LINE_BYTES + 1) if whole else file.readline(_MAX_LINE_BYTES + 1):
                if len(line) > _MAX_LINE_BYTES:
                    raise ConfigError(f"{path}: an alert of more than {_MAX_LINE_BYTES} bytes")
                yield line
    except OSError as e:
        raise ConfigError(f"{path}: cannot be read: {e.strerror}") from None


def _event(alert: Alert, file: str | None, settings: Config) -> Event:
    """The event with the text of the alert: from a file, from the alert itself, or from Kafka."""
    if file is not None:
        return _in_file(file, alert, settings)
    if alert.content is not None:
        return _captured(alert)
    from monitor.review.event_text import EventTexts

    if settings.source.kind != "kafka":
        raise ConfigError(
            f"alert {alert.id}: it has no text, and source.kind is {settings.source.kind}; give its events with "
            "--events, or set alerts.capture_content for the next alerts"
        )
    return EventTexts(settings).event(alert)


def _captured(alert: Alert) -> Event:
    from monitor.events.event import Event, Message, Origin

    content, name = alert.content, alert.segment.name
    origin = Origin(alert.event.origin.topic, alert.event.origin.partition, alert.event.origin.offset)
    if content is None:
        raise ConfigError(f"alert {alert.id}: it has no text")
    if name == "response":
        # all that was captured of what came before is the user's last turn
        asked = (Message("user", content.prompt),) if content.prompt else ()
        return Event(alert.event.id, asked, content.text, origin)
    return Event(alert.event.id, (Message(name, content.text),), "", origin)


def _in_file(path: str, alert: Alert, settings: Config) -> Event:
    from monitor.errors import BadEvent
    from monitor.events.parse import parse
    from monitor.sources.file import FileSource

    source = FileSource(path, settings.events.max_bytes)
    try:
        while not source.exhausted:
            for record in source.poll():
                try:
                    found = parse(record, settings.events.limits, settings.events.body_format())
                except BadEvent:
                    continue  # `events inspect` says what is wrong with it
                for event in found:
                    if event.id == alert.event.id:
                        return event
    finally:
        source.close()
    raise ConfigError(f"--events {path}: no event has the id {alert.event.id}")


def _show(console: Console, found: CausalEvidence) -> None:
    from rich.markup import escape
    from rich.table import Table

    from monitor.report.visible_text import visible_line

    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for column in ("feature", "label"):
        table.add_column(column, overflow="fold")
    for column in ("active tokens", "fall", "controls", "causal weight", "95 % interval", "score without"):
        table.add_column(column, justify="right")
    for weight in found.weights:
        low, high = weight.interval
        table.add_row(
            "all" if weight.index is None else str(weight.index),
            escape(visible_line(weight.label)),
            str(weight.active_tokens),
            f"{weight.change:+.4f}",
            f"{weight.control_change:+.4f}",
            f"{weight.weight:+.4f}",
            f"{low:+.4f} to {high:+.4f}",
            f"{weight.score:.4f}",
        )
    console.print(table)
    part = " of a longer text" if found.cut else ""
    console.print(
        f"{visible_line(found.set_id)}: score {found.score:.4f}. Falls of the log-likelihood in nats a token, over "
        f"{found.flagged_tokens} flagged tokens of {found.read_tokens}{part}; {found.controls} controls.",
        highlight=False,
    )
