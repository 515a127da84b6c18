"""The latentwatch command: its sub-commands, and how errors end it.

Commands import what they need when they run, so that `--help` and the first line of every command come at once.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from monitor.cli.cache import cache_app
from monitor.cli.command_group import CommandGroup
from monitor.cli.dead_letters import dead_letters_app
from monitor.cli.diff_config import diff_config
from monitor.cli.drift import drift
from monitor.cli.events import events_app
from monitor.cli.exit_code import ExitCode
from monitor.cli.features import features_app
from monitor.cli.proxy import proxy
from monitor.cli.replay import replay
from monitor.cli.review import review
from monitor.cli.run import run
from monitor.cli.sae import sae_app
from monitor.cli.scan import scan
from monitor.cli.sets import alerts_app, config_app, sets_app
from monitor.cli.size import size
from monitor.cli.tools import bench, check, compile_, demo, version
from monitor.cli.verify import verify
from monitor.errors import ConfigError, LatentwatchError
from monitor.machine import limit_library_threads, limits

app = typer.Typer(
    name="latentwatch",
    cls=CommandGroup,
    help="Flags risky feature activations inside a language model, from prompt/response events.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command()(run)
app.command()(scan)
app.command()(replay)
app.command("compile")(compile_)
app.command()(check)
app.command("diff-config")(diff_config)
app.command()(drift)
app.command()(proxy)
app.command()(review)
app.command()(verify)
app.command()(bench)
app.command()(size)
app.command()(demo)
app.command()(version)
app.add_typer(events_app, name="events")
app.add_typer(dead_letters_app, name="dead-letters")
app.add_typer(sets_app, name="sets")
app.add_typer(features_app, name="features")
app.add_typer(sae_app, name="sae")
app.add_typer(config_app, name="config")
app.add_typer(cache_app, name="cache")
app.add_typer(alerts_app, name="alerts")


def _print_version(wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit


@app.callback()
def _root(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    pass


def _print_error(text: str) -> None:
    """Names and values of files may hold anything, and must not steer the terminal."""
    from monitor.report.visible_text import visible

    print(f"error: {visible(text)}", file=sys.stderr)  # noqa: T201


def main() -> None:
    """Runs the command. Errors raised on purpose end it with a message and a code, all others with a traceback."""
    limit_library_threads(os.environ, limits())  # before a command imports numpy
    try:
        app()
    except ConfigError as e:
        for problem in e.problems:
            _print_error(problem)
        sys.exit(ExitCode.BAD_CONFIG)
    except LatentwatchError as e:
        _print_error(str(e))
        sys.exit(ExitCode.FAILED)
