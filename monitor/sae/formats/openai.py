"""The layout of OpenAI's sparse_autoencoder: LOCATION/autoencoders/LAYER.pt, one dict for each layer.

Source: openai/sparse_autoencoder (`model.py`, `paths.py`); Gao et al. 2024.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from monitor.errors import ConfigError
from monitor.sae.formats.decoder_norm import decoder_norm
from monitor.sae.formats.tensor_file import TensorFile, open_torch
from monitor.sae.formats.weights_file import weights_file
from monitor.sae.hook_point import HookKind, HookPoint
from monitor.sae.origin import SaeOrigin
from monitor.sae.sae_format import SaeFormat
from monitor.sae.weights import SaeWeights

_WEIGHTS = "*.pt"
_STATISTICS = ("stats_last_nonzero", "latents_activation_frequency", "latents_mean_square")
_LOCATIONS: dict[str, HookKind] = {
    "resid_delta_attn": "attn_out",
    "resid_delta_mlp": "mlp_out",
    "resid_post_attn": "resid_mid",
    "resid_post_mlp": "resid_post",
    "mlp_post_act": "mlp_hidden",
}
_PATH = re.compile(rf"({'|'.join(_LOCATIONS)})(?:_v\d+\w*)?/(?:autoencoders/)?(\d+)\.pt$")


def load(path: Path) -> SaeWeights:
    """The SAE in the file `path`. TopK SAEs see normalised tokens, others see them as they are.

    Raises ConfigError for what would be read wrongly.
    """
    file = weights_file(path, _WEIGHTS)
    tensors = TensorFile(file, open_torch(file), "sparse_autoencoder")
    s, d = tensors.shape("encoder.weight")
    activation = tensors.other("activation")
    topk = activation == "TopK"
    if activation not in (None, "TopK", "ReLU"):  # upstream takes any other for ReLU
        raise ConfigError(f"{file}: activation: {activation!r} is not supported; TopK and ReLU are")
    state = tensors.other("activation_state_dict") or {}
    k = _k(file, state, s) if topk else None
    if not topk and state:
        raise ConfigError(f"{file}: activation_state_dict: is for another activation than {activation or 'ReLU'}")
    w_dec = tensors.take("decoder.weight", (d, s), transposed=True)
    sae = SaeWeights(
        architecture="topk" if topk else "relu",
        w_enc=tensors.take("encoder.weight", (s, d), transposed=True),
        b_enc=tensors.take("latent_bias", (s,)),
        b_dec=tensors.take("pre_bias", (d,)),
        subtract_b_dec=True,
        normalisation="layer_norm" if topk else "none",
        k=k,
        decoder_norm=decoder_norm(w_dec),
        w_dec=w_dec,
        origin=_origin(str(file.resolve()), "TopK" if topk else "ReLU", activation is None),
    )
    tensors.check(also=_STATISTICS)
    return sae


def _k(file: Path, state: dict[str, Any], s: int) -> int:
    k = state.get("k")
    if not isinstance(k, int) or isinstance(k, bool) or not 0 < k <= s:
        raise ConfigError(f"{file}: activation_state_dict.k: expected a whole number from 1 to {s}, got {k!r}")
    after = state.get("postact_fn", "ReLU")
    if after != "ReLU":
        raise ConfigError(
            f"{file}: activation_state_dict.postact_fn: {after!r} is not supported: activations may be negative, and "
            "detectors take every activation as 0 or more; ReLU is"
        )
    return k


def _origin(path: str, architecture: str, unnamed: bool) -> SaeOrigin:
    found = _PATH.search(path)
    said = ["the file names no activation, which upstream takes as ReLU"] if unnamed else []
    if found is None:
        said.append("its path names no hook point, so nobody checks that it belongs to the layer")
    return SaeOrigin(
        format="openai",
        architecture=architecture,
        model="gpt2" if "gpt2-small" in path else None,
        hook_name=f"{found.group(1)}, layer {found.group(2)}" if found else None,
        hook=HookPoint(_LOCATIONS[found.group(1)], int(found.group(2))) if found else None,
        notes=tuple(said),
    )


def _recognises(path: Path) -> bool:
    file = weights_file(path, _WEIGHTS) if path.is_file() or len(list(path.glob(_WEIGHTS))) == 1 else path
    if file.suffix != ".pt" or not file.is_file():
        return False
    names = open_torch(file).keys()
    return "pre_bias" in names and "latent_bias" in names


OPENAI = SaeFormat((_WEIGHTS,), load, _recognises)
