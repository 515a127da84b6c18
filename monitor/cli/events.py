"""The command `latentwatch events inspect`, and what it shares with `latentwatch check --sample`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli.exit_code import ExitCode
from monitor.cli.options import ConfigOption
from monitor.cli.shutdown import closing_all
from monitor.cli.wiring import load_sets, load_settings, open_schema_registry
from monitor.errors import ConfigError, Retryable

if TYPE_CHECKING:
    from monitor.config.sections import Config
    from monitor.events.envelopes.confluent import Schemas
    from monitor.events.event import Record
    from monitor.events.unread_range import UnreadRange
    from monitor.report.inspection import Inspector
    from monitor.sources.source import Source

events_app = typer.Typer(help="Show how events are understood.", no_args_is_help=True)


@dataclass(frozen=True)
class Shown:
    """How inspections are printed."""

    as_json: bool = False
    with_text: bool = True
    of_topic: bool = False


@events_app.command("inspect")
def inspect(
    origin: Annotated[
        str, typer.Argument(metavar="FILE|TOPIC", help="File of events, - for standard input, or a Kafka topic.")
    ],
    config: ConfigOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Most records to show.")] = 20,
    from_end: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="For a topic: begin this many offsets before the end of each partition (default: at its beginning).",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a record.")] = False,
    text: Annotated[
        bool | None,
        typer.Option(
            "--text/--no-text",
            help="Show the start of each text (default: of files, not of topics).",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Show how each record is understood: format, segments, roles, what is left out and why.

    Reads a topic without joining a group and without committing. Exits with code 3 if a record is bad.
    """
    settings = load_settings(config)
    of_topic = not _is_file(origin)
    if from_end is not None and not of_topic:
        raise ConfigError("--from-end: only a topic has an end to count from; leave it out for a file")
    source = _topic(settings, origin, from_end) if of_topic else _file(settings, origin)
    with_text = not of_topic if text is None else text
    inspect_source(settings, source, Shown(as_json, with_text, of_topic), limit)


def inspect_file(settings: Config, path: str) -> None:
    """Prints how every record of a file is understood, and ends the command with code 3 if one is bad."""
    inspect_source(settings, _file(settings, path), Shown())


def inspect_source(settings: Config, source: Source, shown: Shown, limit: int | None = None) -> None:
    """Prints how records are understood, at most `limit`, and ends the command with code 3 if one is bad."""
    from rich.console import Console

    from monitor.events.unread_range import UnreadRange
    from monitor.report.inspection import of_unread
    from monitor.report.inspection_lines import InspectionLines

    console, errors = Console(), Console(stderr=True)
    records = events = bad = 0
    with closing_all() as opened:
        opened.append(source.close)
        inspector = _inspector(settings, open_schema_registry(settings, opened))
        for item in _items(source, limit):
            records += 1
            found = of_unread(item) if isinstance(item, UnreadRange) else inspector.inspect(item)
            events += len(found.events)
            bad += bool(found.bad)
            if shown.as_json:
                print(json.dumps(found.to_json(shown.with_text), ensure_ascii=True))  # noqa: T201
            else:
                console.print(InspectionLines(found, shown.with_text, shown.of_topic), highlight=False)
    # with JSON, standard output is for machines
    summary = f"records: {records}, events: {events}, bad records: {bad}"
    (errors if shown.as_json else console).print(summary, highlight=False)
    if bad:
        raise typer.Exit(ExitCode.BAD_EVENTS)


def _items(source: Source, limit: int | None) -> Iterator[Record | UnreadRange]:
    shown = 0
    while not source.exhausted:
        for item in source.poll():
            yield item
            shown += 1
            if shown == limit:
                return


def _inspector(settings: Config, schemas: Schemas | None) -> Inspector:
    from monitor.report.inspection import Inspector

    readers: dict[str, tuple[str, ...]] = {}
    for loaded in load_sets(settings):
        for segment in loaded.set.segments:
            readers[segment] = (*readers.get(segment, ()), loaded.set.id)
    return Inspector(settings.events.limits, settings.events.body_format(), readers, schemas)


def _is_file(origin: str) -> bool:
    return origin == "-" or "/" in origin or Path(origin).exists()


def _file(settings: Config, path: str) -> Source:
    from monitor.sources.file import FileSource

    return FileSource(path, settings.events.max_bytes)


def _topic(settings: Config, topic: str, from_end: int | None) -> Source:
    from monitor.sources.topic_range import TopicRange
    from monitor.sources.topic_sample import TopicSample

    try:
        return TopicSample(settings.kafka, settings.source, topic, TopicRange(from_end))
    except (ConfigError, Retryable) as e:
        raise ConfigError(f"{topic}: no such file here, and as a topic: {e}") from None
