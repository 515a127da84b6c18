"""The commands that show what is configured: `latentwatch sets`, `config` and `alerts`."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated, Any

import typer

from monitor.cli.options import ConfigOption
from monitor.cli.wiring import load_sets, load_settings
from monitor.errors import ConfigError

sets_app = typer.Typer(help="Show feature sets.", no_args_is_help=True)
config_app = typer.Typer(help="Show the config format.", no_args_is_help=True)
alerts_app = typer.Typer(help="Show the alert format.", no_args_is_help=True)


class MarkdownOption(StrEnum):
    """What `sets list --markdown` takes."""

    summary = "summary"
    full = "full"


@sets_app.command("list")
def list_sets(
    config: ConfigOption = None,
    markdown: Annotated[
        MarkdownOption | None,
        typer.Option(help="Print Markdown instead: one row per set (summary), or every figure of every source (full)."),
    ] = None,
) -> None:
    """List the feature sets in use, with what was measured."""
    from rich.console import Console

    from monitor.cli.figures_table import false_positive_table, figures_table, sparsity_table, summary_table
    from monitor.cli.set_tables import overview

    loaded = load_sets(load_settings(config))
    sets = [one.set for one in loaded]
    if markdown is None:
        Console().print(overview(loaded))
    elif markdown is MarkdownOption.summary:
        print(summary_table(sets))  # noqa: T201
    else:
        tables = (figures_table(sets), sparsity_table(sets), false_positive_table(sets))
        print("\n\n".join(table for table in tables if table))  # noqa: T201


@sets_app.command("show")
def show_set(
    set_id: Annotated[str, typer.Argument(help="Id of the set, as `sets list` prints it.")],
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="The whole set, with the config's changes, as JSON.")] = False,
) -> None:
    """Show one feature set: what it means, its features, calibration, figures and known faults."""
    from rich.console import Console

    from monitor.cli.set_tables import show

    loaded = next((one for one in load_sets(load_settings(config)) if one.set.id == set_id), None)
    if loaded is None:
        raise ConfigError(f"no set {set_id} in use; `latentwatch sets list` shows them")
    if as_json:
        _print_json(loaded.set.model_dump(mode="json"))
    else:
        show(Console(), loaded)


@config_app.command("schema")
def schema_of_config() -> None:
    """Print the JSON schema of the config file."""
    from monitor.config.load import config_schema

    _print_json(config_schema())


@alerts_app.command("schema")
def schema_of_alerts() -> None:
    """Print the JSON schema of an alert."""
    from monitor.alerts.alert import alert_schema

    _print_json(alert_schema())


def _print_json(data: dict[str, Any]) -> None:
    print(json.dumps(data, indent=2, ensure_ascii=False))  # noqa: T201
