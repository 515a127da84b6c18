"""SaeFit: whether measured figures are those of an SAE that reads its own model and hook point."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from transformers import AutoConfig

from monitor.errors import ConfigError
from monitor.lab.sae_training.packed_reader import PackedReader
from monitor.lab.sae_training.packing import PackedRow
from monitor.lab.sae_training.sae_figures import WholeSae, measure
from monitor.model.files import ModelFiles
from monitor.sae.hook_point import HookPoint
from monitor.sae.weights import SaeWeights

MOST_FVU = 0.7
"""Public SAEs leave 0.05 to 0.4 of the variance unexplained where they belong; on other activations, most of it."""
LEAST_RECOVERED = 0.5
CLEARLY_LESS = 0.8
"""How much lower the FVU of another block must be, as a share; that of the next block is nearly the same."""
L0_RATIO = 3.0
"""How far the measured L0 may be from the published one; texts and positions differ from those of the authors."""

_STEPS = (-16, -8, -4, -2, -1, 0, 1, 2, 4, 8, 16)
_ROWS = 16


def measured_layer(path: object, sae: SaeWeights, layer: int | None) -> int:
    """The block whose output the SAE is measured on: `layer`, or what its files say.

    Raises ConfigError if neither says it, or if the SAE reads something else than the output of a block.
    """
    hook = None if sae.origin is None or sae.origin.hook is None else sae.origin.hook.read_as
    if hook is not None and hook.kind != "resid_post":
        raise ConfigError(f"{path}: reads {hook}; figures can only be measured on the output of a block")
    if layer is None and hook is None:
        raise ConfigError(f"{path}: its files don't say which block it reads; give --layer")
    if layer is not None and hook not in (None, HookPoint("resid_post", layer)):
        raise ConfigError(f"--layer {layer}: but {path} reads {hook}")
    return hook.layer if hook is not None else layer or 0


def fvu_by_block(
    sae: WholeSae, rows: Iterable[PackedRow], files: ModelFiles, layer: int, device: str, max_norm: float | None
) -> dict[int, float]:
    """The FVU of `sae` on the outputs of block `layer` and of blocks near and far from it, over the first rows.

    An SAE explains something of any residual stream, but most of that of its own block and of the blocks next to it.
    """
    count = AutoConfig.from_pretrained(files.folder, local_files_only=True).get_text_config().num_hidden_layers
    blocks = sorted({layer + step for step in _STEPS if 0 <= layer + step < count})
    reader = PackedReader(files.folder, blocks, precision="float32", device=device, max_norm=max_norm)
    found = reader.read(list(islice(rows, _ROWS)))
    figures = {block: measure(sae, [residual]).result()["fvu"] for block, residual in found.by_layer.items()}
    return {block: fvu for block, fvu in figures.items() if fvu is not None}


def better_block(layer: int, by_block: Mapping[int, float]) -> str | None:
    """In words, the block that the SAE fits clearly better than `layer`; None if there is none."""
    if layer not in by_block:
        return None
    best = min(by_block, key=by_block.__getitem__)
    if by_block[best] >= by_block[layer] * CLEARLY_LESS:
        return None
    return f"it leaves {by_block[layer]:.0%} of the variance unexplained, but only {by_block[best]:.0%} at block {best}"


def misfits(sae: SaeWeights, figures: Mapping[str, Any]) -> list[str]:
    """Why `figures` are not those of an SAE where it belongs; empty if they may be.

    `figures` are those of SaeFigures, with those of SplicedLoss under `spliced` if they were measured.
    """
    found = []
    fvu, l0 = figures["fvu"], figures["l0"]
    if fvu is None or l0 is None:
        return ["no token of the texts could be measured"]
    if fvu > MOST_FVU:
        found.append(f"it leaves {fvu:.0%} of the variance unexplained, and {MOST_FVU:.0%} is already too much")
    if l0 == 0:
        found.append("no latent is ever active")
    published = None if sae.origin is None else sae.origin.l0
    published = sae.k if published is None and sae.architecture == "topk" else published
    if published and l0 and not published / L0_RATIO <= l0 <= published * L0_RATIO:
        found.append(f"{l0:.1f} latents are active on a token, but its files name {published:g}")
    recovered = figures.get("spliced", {}).get("ce_recovered")
    if recovered is not None and recovered < LEAST_RECOVERED:
        found.append(f"its reconstruction recovers only {recovered:.0%} of the model's loss")
    return found
