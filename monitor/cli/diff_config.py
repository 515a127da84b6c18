"""The command `latentwatch diff-config`: what changes from one config to another, in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli.exit_code import ExitCode
from monitor.cli.wiring import load_sets, load_settings

if TYPE_CHECKING:
    from monitor.config.changes import Change


def diff_config(
    before: Annotated[Path, typer.Argument(help="YAML config file.")],
    after: Annotated[Path, typer.Argument(help="The config file that would replace it.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the changes as JSON.")] = False,
    without_sets: Annotated[
        bool, typer.Option("--without-sets", help="Compare only the files; don't load feature sets.")
    ] = False,
) -> None:
    """Say in words what changes from one config to another, feature sets included.

    Exits with code 0 if nothing changes, 1 if something does, and 2 if a config or a set is wrong.
    """
    changes = _changes(before, after, without_sets)
    if as_json:
        data = [
            {"key": c.key, "words": c.words, "before": c.before, "after": c.after, "needs_restart": c.needs_restart}
            for c in changes
        ]
        print(json.dumps({"changes": data}, indent=2, ensure_ascii=False))  # noqa: T201
    else:
        for change in changes:
            print(f"{change.key}: {change.words}{' (needs a restart)' if change.needs_restart else ''}")  # noqa: T201
        if not changes:
            print("nothing changes")  # noqa: T201
    if changes:
        raise typer.Exit(ExitCode.DIFFERENT)


def _changes(before: Path, after: Path, without_sets: bool) -> list[Change]:
    from monitor.assembly.changes import all_changes
    from monitor.config.changes import config_changes
    from monitor.errors import ConfigError

    configs, sets, problems = [], [], []
    for path in (before, after):
        try:
            configs.append(load_settings(path))
            sets.append([] if without_sets else load_sets(configs[-1]))
        except ConfigError as e:
            problems += [p if p.startswith(f"{path}: ") else f"{path}: {p}" for p in e.problems]
    if problems:
        raise ConfigError(problems)
    if without_sets:
        return list(config_changes(*configs))
    return list(all_changes((configs[0], configs[1]), (sets[0], sets[1])))
