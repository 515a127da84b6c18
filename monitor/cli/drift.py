"""The command `latentwatch drift`: what changed between two windows of traffic."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli.exit_code import ExitCode
from monitor.cli.options import ConfigOption
from monitor.cli.wiring import load_settings
from monitor.errors import ConfigError

if TYPE_CHECKING:
    from monitor.drift.comparison import By
    from monitor.drift.snapshot import SetSnapshot
    from monitor.drift.window import Traffic

_WHAT = "A file of snapshots, or a window of time: 2026-11-01T00:00/2026-11-08T00:00 (UTC)."


def drift(
    baseline: Annotated[str, typer.Option("--baseline", metavar="WINDOW|FILE", help=_WHAT)],
    current: Annotated[str, typer.Option("--current", metavar="WINDOW|FILE", help="What to compare with it.")],
    by: Annotated[
        str | None,
        typer.Option("--by", help="Compare each model, each tenant or both: model,tenant.", show_default=False),
    ] = None,
    snapshots: Annotated[
        list[Path] | None,
        typer.Option(
            "--snapshots",
            help="Files that windows are taken from (default: drift.path of the config, or else drift.topic).",
            show_default=False,
        ),
    ] = None,
    config: ConfigOption = None,
    fdr: Annotated[float, typer.Option(min=0.0001, max=0.5, help="Share of false discoveries to accept.")] = 0.05,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-on",
            metavar="RULE",
            help="Exit with code 1 on such a change: any, +20%, -50%, SET:+20% or SET/INDEX:+20%; repeatable.",
            show_default=False,
        ),
    ] = None,
    show_all: Annotated[bool, typer.Option("--all", help="Show also what did not change.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say how often sets fired and features were active in two windows of traffic, and what changed.

    Reads snapshots that the sidecar wrote (see drift in the config). They hold counts and sketches, but no text.
    """
    from monitor.drift.comparison import compare
    from monitor.drift.fail_rule import FailRule

    rules = [FailRule.parse(text) for text in fail_on or ()]
    sides = _sides(baseline, current, snapshots or [], config)
    comparison = compare(*sides, by=_by(by), fdr=fdr)
    if as_json:
        print(json.dumps(comparison.to_json(), indent=2, ensure_ascii=True))  # noqa: T201
    else:
        from rich.console import Console

        from monitor.drift.table import ComparisonTable
        from monitor.report.visible_text import visible_line

        for warning in comparison.warnings:
            Console(stderr=True).print(f"warning: {visible_line(warning)}", markup=False, highlight=False)
        Console().print(ComparisonTable(comparison, show_all), highlight=False, soft_wrap=True)
    if any(rule.breaks(row, fdr) for rule in rules for row in comparison.rows):
        raise typer.Exit(ExitCode.DIFFERENT)


def _by(text: str | None) -> tuple[By, ...]:
    names = () if text is None else tuple(dict.fromkeys(text.split(",")))
    known: dict[str, By] = {"model": "model", "tenant": "tenant"}
    for name in names:
        if name not in known:
            raise ConfigError(f"--by: {name!r} is neither model nor tenant")
    return tuple(known[name] for name in names)


def _sides(baseline: str, current: str, files: list[Path], config: Path | None) -> tuple[Traffic, Traffic]:
    from monitor.drift.window import Window, all_of, in_window, read_file

    kept: list[SetSnapshot] | None = None
    sides = []
    for option, text in (("--baseline", baseline), ("--current", current)):
        if Path(text).is_file():
            sides.append(all_of(text, read_file(Path(text))))
            continue
        window = Window.parse(text, option)
        if kept is None:
            kept = [snapshot for path in files for snapshot in read_file(path)] if files else _configured(config)
        sides.append(in_window(text, window, kept))
    return sides[0], sides[1]


def _configured(config: Path | None) -> list[SetSnapshot]:
    from monitor.drift.window import read_file, read_topic

    settings = load_settings(config)
    if settings.drift.path is not None:
        return read_file(settings.drift.path)
    if settings.drift.topic is not None:
        return read_topic(settings, settings.drift.topic)
    raise ConfigError(
        "a window needs snapshots: name files with --snapshots, or a config that sets drift.path or topic"
    )
