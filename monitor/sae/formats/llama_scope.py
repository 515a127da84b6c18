"""The layout of Llama Scope: a folder of hyperparams.json and checkpoints/final.safetensors.

Sources: He et al. 2024 (Llama Scope), SAELens 6.54 (`llama_scope_sae_huggingface_loader`).
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from monitor.sae.formats.decoder_norm import decoder_norm, threshold_without_norm
from monitor.sae.formats.settings import Settings
from monitor.sae.formats.tensor_file import TensorFile, open_safetensors
from monitor.sae.origin import SaeOrigin, named_hook
from monitor.sae.sae_format import SaeFormat
from monitor.sae.weights import SaeWeights, input_scaled

_CFG, _WEIGHTS = "hyperparams.json", "checkpoints/final.safetensors"


def load(folder: Path) -> SaeWeights:
    """The SAE in `folder`, with the scale of its input folded in.

    The input was scaled to a mean length of sqrt(d) in training, and the threshold stands in units of activations that
    were scaled back. Raises ConfigError for what would be read wrongly.
    """
    cfg = Settings.read(folder / _CFG)
    d, s = cfg.whole("d_model"), cfg.whole("d_sae")
    factor = math.sqrt(d) / cfg.section("dataset_average_activation_norm").positive("in")
    threshold = np.full(s, cfg.positive("jump_relu_threshold") * factor, np.float32)
    cfg.must_be("apply_decoder_bias_to_pre_encoder", False, "the published SAEs don't subtract b_dec")
    tensors = TensorFile(folder / _WEIGHTS, open_safetensors(folder / _WEIGHTS), _CFG)
    w_dec = tensors.take("decoder.weight", (d, s), transposed=True)
    norm = decoder_norm(w_dec)
    if cfg.flag("sparsity_include_decoder_norm", False):  # then the threshold is compared with pre * norm
        threshold = threshold_without_norm(threshold, norm)
    sae = SaeWeights(
        architecture="jumprelu",
        w_enc=tensors.take("encoder.weight", (s, d), transposed=True),
        b_enc=tensors.take("encoder.bias", (s,)),
        b_dec=tensors.take("decoder.bias", (d,)),
        subtract_b_dec=False,
        threshold=threshold,
        decoder_norm=norm,
        transcoder=cfg.get("hook_point_out", cfg.get("hook_point_in")) != cfg.get("hook_point_in"),
        w_dec=w_dec,
        origin=SaeOrigin(
            format="llama_scope",
            architecture="jumprelu",
            model="Llama-3.1-8B" if "Llama3_1-8B" in str(folder.resolve()) else None,
            notes=(f"its input is scaled by {factor:.6g}, which is folded in",),
            **named_hook(cfg.get("hook_point_in")),
        ),
    )
    tensors.check()
    return input_scaled(sae, factor)


def _recognises(path: Path) -> bool:
    return (path / _CFG).is_file() and (path / _WEIGHTS).is_file()


LLAMA_SCOPE = SaeFormat((_CFG, _WEIGHTS), load, _recognises)
