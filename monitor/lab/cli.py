"""The commands of `latentwatch lab`."""

from __future__ import annotations

import typer

from monitor.lab.commands.curate_command import curate
from monitor.lab.commands.diff_commands import diff, tune
from monitor.lab.commands.fit_commands import code_rows, layer_sweep, make_sets
from monitor.lab.commands.label_commands import label_app
from monitor.lab.commands.sae_commands import collect, sae_figures, step_speed, train
from monitor.lab.commands.set_commands import calibrate, cases, evaluate, evasion, languages, planted, reference
from monitor.lab.commands.steer_command import steer, steer_examples

app = typer.Typer(name="lab", help="Offline work on feature sets; needs latentwatch\\[lab].", no_args_is_help=True)
app.command()(collect)
app.command()(train)
app.command("sae-figures")(sae_figures)
app.command()(curate)
app.command()(evaluate)
app.command()(calibrate)
app.command()(cases)
app.command()(evasion)
app.command()(languages)
app.command()(planted)
app.command()(reference)
app.command("make-sets")(make_sets)
app.command("layer-sweep")(layer_sweep)
app.command("code-rows")(code_rows)
app.command("step-speed")(step_speed)
app.command()(diff)
app.command()(tune)
app.command()(steer)
app.command("steer-examples")(steer_examples)
app.add_typer(label_app, name="label")
