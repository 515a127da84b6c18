"""The layout of dictionary_learning: a folder of config.json and ae.pt, for each of its classes.

Source: dictionary_learning 0.1 (`dictionary.py`, `trainers/top_k.py`, `trainers/batch_top_k.py`,
`trainers/matryoshka_batch_top_k.py`). The scale of its inputs in training is already in the saved biases.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from monitor.errors import ConfigError
from monitor.sae.formats.decoder_norm import decoder_norm
from monitor.sae.formats.settings import Settings
from monitor.sae.formats.tensor_file import TensorFile, open_torch
from monitor.sae.hook_point import HookKind, HookPoint
from monitor.sae.origin import SaeOrigin
from monitor.sae.sae_format import SaeFormat
from monitor.sae.weights import Architecture, Array, SaeWeights

_CFG, _WEIGHTS = "config.json", "ae.pt"
_UNIT = 0.01


@dataclass(frozen=True)
class _Kind:
    """What one class of dictionary_learning computes, and how it calls its tensors."""

    architecture: Architecture
    linear: bool
    """Whether encoder and decoder are torch's linear layers, whose matrices are transposed."""
    b_dec: str
    subtract: bool = True


_KINDS = {
    "AutoEncoder": _Kind("relu", True, "bias"),
    "AutoEncoderNew": _Kind("relu", True, "decoder.bias", subtract=False),
    "GatedAutoEncoder": _Kind("gated", True, "decoder_bias"),
    "JumpReluAutoEncoder": _Kind("jumprelu", False, "b_dec", subtract=False),
    "AutoEncoderTopK": _Kind("topk", True, "b_dec"),
    "BatchTopKSAE": _Kind("jumprelu", True, "b_dec"),
    "MatryoshkaBatchTopKSAE": _Kind("jumprelu", False, "b_dec"),
}
_HOOKS: dict[str, HookKind] = {"resid_post": "resid_post", "attn_out": "attn_out", "mlp_out": "mlp_out"}


def load(folder: Path) -> SaeWeights:
    """The SAE in `folder`. BatchTopK SAEs are read with their threshold, as upstream does for inference.

    Raises ConfigError for what would be read wrongly.
    """
    trainer = Settings.read(folder / _CFG).section("trainer")
    name = trainer.one_of("dict_class", tuple(_KINDS))
    kind = _KINDS[name]
    tensors = TensorFile(folder / _WEIGHTS, open_torch(folder / _WEIGHTS), name)
    rows, columns = tensors.shape("encoder.weight" if kind.linear else "W_enc")
    d, s = (columns, rows) if kind.linear else (rows, columns)
    for key, found in (("activation_dim", d), ("dict_size", s)):
        if trainer.get(key, found) != found:
            raise trainer.wrong(key, f"{trainer.get(key)!r}, but the weights have {found}")
    gated = kind.architecture == "gated"
    w_dec = tensors.take("decoder.weight", (d, s), transposed=True) if kind.linear else tensors.take("W_dec", (s, d))
    w_enc = tensors.take("encoder.weight", (s, d), transposed=True) if kind.linear else tensors.take("W_enc", (d, s))
    k = _k(tensors, trainer, s) if "TopK" in name else None
    if name == "MatryoshkaBatchTopKSAE":
        _check_groups(tensors, s)
    norm = decoder_norm(w_dec)
    sae = SaeWeights(
        architecture=kind.architecture,
        w_enc=w_enc,
        b_enc=np.zeros(s, np.float32) if gated else tensors.take("encoder.bias" if kind.linear else "b_enc", (s,)),
        b_dec=tensors.take(kind.b_dec, (d,)),
        subtract_b_dec=kind.subtract,
        threshold=_threshold(tensors, name, s) if kind.architecture == "jumprelu" else None,
        b_gate=tensors.take("gate_bias", (s,)) if gated else None,
        b_mag=tensors.take("mag_bias", (s,)) if gated else None,
        r_mag=tensors.take("r_mag", (s,)) if gated else None,
        k=k if kind.architecture == "topk" else None,
        decoder_norm=norm,
        w_dec=w_dec,
        origin=_origin(trainer, name, norm),
    )
    # a TopK SAE also keeps a threshold, for a way of encoding that it doesn't use by default
    tensors.check(also=("threshold",) if kind.architecture == "topk" else ())
    return sae


def _threshold(tensors: TensorFile, name: str, s: int) -> Array:
    if name == "JumpReluAutoEncoder":
        return tensors.take("threshold", (s,))
    value = float(tensors.take("threshold", ()))  # one for all latents
    if value < 0:
        raise ConfigError(
            f"{tensors.path}: threshold: {value:g}: it was never estimated in training, and without it which latents "
            "are active depends on the other tokens of a batch"
        )
    return np.full(s, value, np.float32)


def _k(tensors: TensorFile, trainer: Settings, s: int) -> int:
    stored: Any = tensors.other("k")
    if stored is None:
        return trainer.whole("k", most=s)
    k = int(stored)
    if trainer.get("k", k) != k:
        raise trainer.wrong("k", f"{trainer.get('k')!r}, but {_WEIGHTS} has {k}")
    if not 0 < k <= s:
        raise ConfigError(f"{tensors.path}: k: expected a whole number from 1 to {s}, got {k}")
    return k


def _check_groups(tensors: TensorFile, s: int) -> None:
    groups = tensors.other("group_sizes")
    if groups is not None and int(sum(int(g) for g in groups)) != s:
        raise ConfigError(f"{tensors.path}: group_sizes: add up to {sum(int(g) for g in groups)}, not to {s} latents")


def _origin(trainer: Settings, name: str, norm: Array) -> SaeOrigin:
    submodule = trainer.text("submodule_name")
    layer = trainer.get("layer")
    hook = None
    if isinstance(layer, int) and not isinstance(layer, bool):
        where = re.sub(r"[_ ]*(layer)?[_ ]*\d+$", "", submodule or "resid_post")
        kind = _HOOKS.get(where)
        hook = None if kind is None else HookPoint(kind, layer)
    said = submodule or (None if layer is None else f"layer {layer}")
    scaled = name == "AutoEncoder" and bool(np.abs(norm - 1).max() > _UNIT)
    return SaeOrigin(
        format="dictionary_learning",
        architecture=name,
        model=trainer.text("lm_name"),
        hook_name=said,
        hook=hook,
        notes=(
            "dictionary_learning itself shows these activations times the norm of the decoder row: numbers from there "
            "need activation_basis: decoder_norm_folded",
        )
        if scaled
        else (),
    )


def _recognises(path: Path) -> bool:
    return (path / _CFG).is_file() and (path / _WEIGHTS).is_file()


DICTIONARY_LEARNING = SaeFormat((_CFG, _WEIGHTS), load, _recognises)
