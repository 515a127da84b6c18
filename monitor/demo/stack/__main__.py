"""`make observe`: starts the stack, prints its pages, and sends sample traffic until Ctrl-C."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from monitor.demo.broker import EmbeddedBroker
from monitor.demo.progress import ProgressLine
from monitor.demo.run import sigterm_interrupts
from monitor.demo.stack.measure import measure, told
from monitor.demo.stack.stack import Stack, StackFiles
from monitor.errors import LatentwatchError

_CHECK_EVERY_S = 1.0


def observe(
    deploy: Annotated[Path, typer.Option(help="The folder deploy of the repository.")] = Path("deploy"),
    out: Annotated[Path, typer.Option(help="Folder for configs, logs, alerts and data.")] = Path("observe-output"),
    rate: Annotated[float, typer.Option(min=0.1, help="Sample events per second.")] = 2.0,
    phoenix: Annotated[
        bool, typer.Option("--phoenix", help="Show the spans in Phoenix; one of its ports is open to the network.")
    ] = False,
    seconds: Annotated[
        float | None, typer.Option(min=1, help="Stop after this time instead of at Ctrl-C.", show_default=False)
    ] = None,
    delays: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Instead of traffic, send this many events and print how soon their alerts are seen.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Run the observability stack on this machine, on loopback ports."""
    console = Console()
    try:
        with sigterm_interrupts(), Stack(StackFiles(deploy, out, phoenix=phoenix), EmbeddedBroker()) as stack:
            _wait_ready(stack, console)
            _tell(stack, console)
            if delays is None:
                console.print("Sample traffic runs. Ctrl-C stops everything.")
                _send(stack, rate, seconds)
            else:
                console.print("From publishing an event to its alert")
                for line in told(measure(stack, delays)):
                    console.print(f"  {line}", highlight=False)
    except KeyboardInterrupt:
        pass
    except (LatentwatchError, OSError) as e:
        console.print(f"[bold red]Failed: {escape(str(e))}[/]\nThe logs are in {escape(str(out))}.", highlight=False)
        raise typer.Exit(1) from None
    console.print("Everything is stopped.")


def _wait_ready(stack: Stack, console: Console) -> None:
    console.print("Starting; the first start compiles the model (a minute or more).")
    with ProgressLine(console) as progress:
        stack.wait_ready(lambda: progress.update(stack.demo.compile_step() or "loading the model and the feature sets"))


def _tell(stack: Stack, console: Console) -> None:
    for line in (*stack.missing, *stack.warnings):
        console.print(f"[yellow]{escape(line)}[/]", highlight=False, soft_wrap=True)
    for page, where in {**stack.pages, "Alerts": str(stack.demo.alerts), "Logs": str(stack.demo.folder)}.items():
        console.print(f"{page}: {escape(where)}", highlight=False, soft_wrap=True)


def _send(stack: Stack, rate: float, seconds: float | None) -> None:
    started = time.monotonic()
    sent, checked = 0, started
    while seconds is None or time.monotonic() - started < seconds:
        stack.traffic.send()
        sent += 1
        if time.monotonic() - checked > _CHECK_EVERY_S:
            stack.check_alive()
            checked = time.monotonic()
        time.sleep(max(0.0, started + sent / rate - time.monotonic()))


if __name__ == "__main__":
    typer.run(observe)
