"""The layout of lm-saes (now llamascopium): a folder of config.json and sae_weights.safetensors.

Source: OpenMOSS/Language-Model-SAEs (`models/sae.py`, `models/sparse_dictionary.py`, `activation_functions.py`).
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from monitor.errors import ConfigError
from monitor.sae.formats.decoder_norm import decoder_norm, threshold_without_norm
from monitor.sae.formats.settings import MOST, Settings
from monitor.sae.formats.tensor_file import TensorFile, open_safetensors
from monitor.sae.origin import SaeOrigin, named_hook
from monitor.sae.sae_format import SaeFormat
from monitor.sae.weights import Architecture, Normalisation, SaeWeights, input_scaled

_CFG, _WEIGHTS = "config.json", "sae_weights.safetensors"
_NORM = "dataset_average_activation_norm."
_ARCHITECTURES: dict[str, Architecture] = {"relu": "relu", "jumprelu": "jumprelu", "topk": "topk"}


def load(folder: Path) -> SaeWeights:
    """The SAE in `folder`, with a fixed scale of its input folded in.

    With sparsity_include_decoder_norm, the activation function sees pre times the norm of the decoder row, and what it
    lets through is divided by the norm again. Raises ConfigError for what would be read wrongly.
    """
    cfg = Settings.read(folder / _CFG)
    _refuse(cfg)
    architecture = _ARCHITECTURES[cfg.one_of("act_fn", tuple(_ARCHITECTURES), "relu")]
    by_norm = cfg.flag("sparsity_include_decoder_norm", True)
    d = cfg.whole("d_model")
    expansion = cfg.positive("expansion_factor")
    if d * expansion > MOST:
        raise cfg.wrong("expansion_factor", f"{expansion:g} times {d} channels are too many latents")
    s = int(d * expansion)
    hook_in = cfg.get("hook_point_in")
    tensors = TensorFile(folder / _WEIGHTS, open_safetensors(folder / _WEIGHTS), f"act_fn {architecture} in {_CFG}")
    # a first version named them as torch's linear layers do
    old = "encoder.weight" in tensors
    if old:
        w_dec = tensors.take("decoder.weight", (d, s), transposed=True)
        w_enc = tensors.take("encoder.weight", (s, d), transposed=True)
    else:
        w_dec, w_enc = tensors.take("W_D", (s, d)), tensors.take("W_E", (d, s))
    has_bias = cfg.flag("use_decoder_bias", True)
    bias = "decoder.bias" if old else "b_D"
    norm = decoder_norm(w_dec)
    threshold = None
    if architecture == "jumprelu":
        name = "log_jumprelu_threshold" if old else "activation_function.log_jumprelu_threshold"
        with np.errstate(over="ignore"):  # an infinite threshold is never reached
            threshold = np.exp(tensors.take(name, (s,)))
        if by_norm:
            threshold = threshold_without_norm(threshold, norm)
    normalisation, factor = _input_scale(cfg, tensors, d)
    sae = SaeWeights(
        architecture=architecture,
        w_enc=w_enc,
        b_enc=tensors.take("encoder.bias" if old else "b_E", (s,)),
        b_dec=tensors.take(bias, (d,)) if has_bias else np.zeros(d, np.float32),
        subtract_b_dec=False,
        normalisation=normalisation,
        threshold=threshold,
        k=cfg.whole("top_k", 50, most=s) if architecture == "topk" else None,
        decoder_norm=norm,
        rank_by_decoder_norm=by_norm and architecture == "topk",
        transcoder=cfg.get("hook_point_out", hook_in) != hook_in,
        w_dec=w_dec,
        origin=SaeOrigin(
            format="lm_saes",
            architecture=architecture,
            model=cfg.text("model_name"),
            notes=() if factor == 1 else (f"its input is scaled by {factor:.6g}, which is folded in",),
            **named_hook(hook_in),
        ),
    )
    tensors.check(also=[name for name in tensors.names() if name.startswith(_NORM)])
    return input_scaled(sae, factor)


def _refuse(cfg: Settings) -> None:
    kind = cfg.get("sae_type", "sae")
    if kind != "sae":
        raise cfg.wrong("sae_type", f"{kind!r} is not supported: it reads more than one activation; sae is")
    if cfg.get("act_fn") in ("batchtopk", "layertopk", "batchlayertopk"):
        raise cfg.wrong(
            "act_fn", f"{cfg.get('act_fn')} depends on the other tokens of a batch; convert it to jumprelu with lm-saes"
        )
    cfg.must_be("use_glu_encoder", False, "the readers have no gate of that kind")


def _input_scale(cfg: Settings, tensors: TensorFile, d: int) -> tuple[Normalisation, float]:
    """How each token is normalised, and the fixed factor that the input is scaled by."""
    kind = cfg.get("norm_activation", "dataset-wise")
    if kind == "batch-wise":
        raise cfg.wrong("norm_activation", "batch-wise depends on the other tokens of a batch")
    kind = cfg.one_of("norm_activation", ("inference", "token-wise", "dataset-wise"), "dataset-wise")
    if kind == "inference":
        return "none", 1.0
    if kind == "token-wise":
        return "constant_norm_rescale", 1.0
    name = f"{_NORM}{cfg.get('hook_point_in')}"
    value = np.asarray(tensors.other(name), np.float32) if name in tensors else np.zeros(())
    if value.size != 1 or not 0 < float(value.reshape(())) < math.inf:
        raise ConfigError(
            f"{tensors.path}: {name}: missing or not above 0; norm_activation dataset-wise needs it; save the SAE with "
            "fold_activation_scale"
        )
    return "none", math.sqrt(d) / float(value.reshape(()))


def _recognises(path: Path) -> bool:
    return (path / _CFG).is_file() and (path / _WEIGHTS).is_file()


LM_SAES = SaeFormat((_CFG, _WEIGHTS), load, _recognises)
