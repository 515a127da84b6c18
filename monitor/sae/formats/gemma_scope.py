"""The layout of Gemma Scope 1: layer_L/width_W/average_l0_N/params.npz, without any settings file.

Sources: Lieberum et al. 2024 (Gemma Scope), SAELens 6.54 (`gemma_2_sae_huggingface_loader`).
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from monitor.errors import ConfigError
from monitor.sae.formats.decoder_norm import decoder_norm
from monitor.sae.formats.tensor_file import TensorFile, open_npz
from monitor.sae.formats.weights_file import weights_file
from monitor.sae.hook_point import HookKind, HookPoint
from monitor.sae.origin import SaeOrigin
from monitor.sae.sae_format import SaeFormat
from monitor.sae.weights import SaeWeights

_WEIGHTS = "params.npz"
_KINDS: dict[str, HookKind] = {"res": "resid_post", "att": "attn_z", "mlp": "mlp_out", "transcoders": "mlp_in"}
_REPOSITORY = re.compile(r"gemma-scope-(\d+b)-(pt|it)-(res|att|mlp|transcoders)")
_LAYER = re.compile(r"/layer_(\d+)/")
_L0 = re.compile(r"/average_l0_(\d+)/")


def load(path: Path) -> SaeWeights:
    """The SAE at `path`, a folder or params.npz itself. Raises ConfigError for what would be read wrongly."""
    file = weights_file(path, _WEIGHTS)
    values = open_npz(file)
    names = {re.sub(r"^W_", "w_", name): name for name in values}  # both have been published
    tensors = TensorFile(file, {name: values[was] for name, was in names.items()}, "Gemma Scope")
    d, s = tensors.shape("w_enc")
    d_out = tensors.shape("w_dec")[1]
    origin = _origin(str(file.resolve()), transcoder=d_out != d)
    w_dec, w_enc = tensors.take("w_dec", (s, d_out)), tensors.take("w_enc", (d, s))
    if origin.hook_name == "hook_embed":  # trained on embeddings that the model scales by sqrt(d)
        w_enc, w_dec = w_enc / np.float32(math.sqrt(d)), w_dec * np.float32(math.sqrt(d))
    factor = tensors.take("scaling_factor", (s,)) if "scaling_factor" in tensors else None
    sae = SaeWeights(
        architecture="jumprelu",
        w_enc=w_enc,
        b_enc=tensors.take("b_enc", (s,)),
        b_dec=tensors.take("b_dec", (d_out,)),
        subtract_b_dec=False,
        threshold=tensors.take("threshold", (s,)),
        decoder_norm=decoder_norm(w_dec),
        transcoder=origin.hook is not None and origin.hook.kind == "mlp_in",
        w_dec=w_dec,
        origin=origin,
    )
    tensors.check()
    if factor is not None and not np.allclose(factor, 1):
        raise ConfigError(f"{file}: scaling_factor: only 1 is supported, which all published SAEs have")
    return sae


def _origin(path: str, transcoder: bool) -> SaeOrigin:
    """The model and hook point that the path names, as it is laid out on the model hub."""
    repository, layer = _REPOSITORY.search(path), _LAYER.search(path)
    l0 = _L0.search(path)
    kind = _KINDS[repository.group(3)] if repository else None
    if kind is None and transcoder:
        kind = "mlp_in"
    hook = HookPoint(kind, int(layer.group(1))) if kind is not None and layer is not None else None
    name = None if hook is None else f"{hook.kind} of {layer.group(0).strip('/')}" if layer else None
    if "/embedding/" in path:
        name, hook = "hook_embed", None
    unknown = "its path names no model and hook point, so nobody checks that it belongs to the model"
    return SaeOrigin(
        format="gemma_scope",
        architecture="jumprelu",
        model=f"google/gemma-2-{repository.group(1)}" + ("-it" if repository.group(2) == "it" else "")
        if repository
        else None,
        hook_name=name,
        hook=hook,
        l0=None if l0 is None else float(l0.group(1)),
        notes=() if name else (unknown,),
    )


def _recognises(path: Path) -> bool:
    return weights_file(path, _WEIGHTS).is_file() and (path.is_dir() or path.name == _WEIGHTS)


GEMMA_SCOPE = SaeFormat((_WEIGHTS,), load, _recognises)
