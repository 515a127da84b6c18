"""The commands of `latentwatch lab`."""

from __future__ import annotations

import typer

from monitor.lab.commands.curate_command import curate
from monitor.lab.commands.sae_commands import collect, sae_figures, train
from monitor.lab.commands.set_commands import calibrate, cases, evaluate, reference

app = typer.Typer(name="lab", help="Offline work on feature sets; needs latentwatch\\[lab].", no_args_is_help=True)
app.command()(collect)
app.command()(train)
app.command("sae-figures")(sae_figures)
app.command()(curate)
app.command()(evaluate)
app.command()(calibrate)
app.command()(cases)
app.command()(reference)
