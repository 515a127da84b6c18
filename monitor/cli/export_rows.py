"""The command `latentwatch export-rows`: the encoder rows of the sets, for a server that sends pre-activations."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from monitor.cli.options import ConfigOption
from monitor.cli.wiring import load_settings


def export_rows(
    config: ConfigOption = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Safetensors file to write; must not exist.")] = Path(
        "rows.safetensors"
    ),
) -> None:
    """Write the encoder rows and probes that the sets use, so that a server can send only their pre-activations.

    Prints rows_sha256, which every such event must name, and what a token costs compared with its hidden state.
    """
    settings = load_settings(config)
    from monitor.assembly.artefacts import load_artefacts
    from monitor.assembly.sent_reader import rows_info
    from monitor.sae.rows_file import save_rows

    artefacts = load_artefacts(settings)
    rows, info = artefacts.encoder_rows(), rows_info(artefacts)
    save_rows(out, rows, info)
    count = len(info.names)
    norms = 0 if info.max_norm is None else 1
    lines = [
        f"{out}: {len(info.latents):,} latents and {len(info.probes)} probes, {out.stat().st_size / 1e6:.1f} MB",
        f"rows_sha256   {info.sha256()}",
        f"a token in 16 bits: {2 * (count + norms):,} bytes of pre-activations, {2 * rows.d:,} bytes of hidden state",
    ]
    if count > rows.d:
        lines.append(f"the sets use more rows than the hook point is wide ({rows.d:,}): hidden_states cost less")
    sys.stdout.write("".join(f"{line}\n" for line in lines))
