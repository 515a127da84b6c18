"""The layout of Gemma Scope 2: a folder of params.safetensors and, mostly, config.json.

Source: SAELens 6.54 (`gemma_3_sae_huggingface_loader`).
"""

from __future__ import annotations

import re
from pathlib import Path

from monitor.errors import ConfigError
from monitor.sae.formats.decoder_norm import decoder_norm
from monitor.sae.formats.settings import Settings
from monitor.sae.formats.tensor_file import TensorFile, open_safetensors
from monitor.sae.hook_point import HookKind, HookPoint
from monitor.sae.origin import SaeOrigin, named_hook
from monitor.sae.sae_format import SaeFormat
from monitor.sae.weights import SaeWeights

_CFG, _WEIGHTS = "config.json", "params.safetensors"
_SKIP = "affine_skip_connection"
# Folders of the repository, for SAEs without a settings file; the attention SAEs read the joined heads
_KINDS: dict[str, HookKind] = {
    "transcoder": "mlp_in",
    "resid_post": "resid_post",
    "attn_out": "attn_z",
    "mlp_out": "mlp_out",
}
_MODEL = re.compile(r"gemma-scope-2-([0-9a-z]+-(?:pt|it))")
_LAYER = re.compile(r"layer_(\d+)")


def load(folder: Path) -> SaeWeights:
    """The SAE or transcoder in `folder`. Raises ConfigError for what would be read wrongly."""
    has_cfg = (folder / _CFG).is_file()
    cfg = Settings.read(folder / _CFG) if has_cfg else Settings(folder / _CFG, {})
    cfg.one_of("architecture", ("jump_relu",), "jump_relu")
    tensors = TensorFile(folder / _WEIGHTS, open_safetensors(folder / _WEIGHTS), "Gemma Scope 2")
    if len(getattr(tensors.other("w_dec"), "shape", ())) == 3:
        raise ConfigError(
            f"{tensors.path}: w_dec: a cross-layer transcoder is not supported; use one of a single layer"
        )
    d, s = tensors.shape("w_enc")
    d_out = tensors.shape("w_dec")[1]
    w_dec = tensors.take("w_dec", (s, d_out))
    if _SKIP in tensors:
        tensors.take(_SKIP, (d, d_out))
    elif cfg.flag("affine_connection", False):
        raise cfg.wrong("affine_connection", f"true, but {tensors.path.name} has no {_SKIP}; is it another SAE?")
    origin = _origin(folder, cfg)
    sae = SaeWeights(
        architecture="jumprelu",
        w_enc=tensors.take("w_enc", (d, s)),
        b_enc=tensors.take("b_enc", (s,)),
        b_dec=tensors.take("b_dec", (d_out,)),
        subtract_b_dec=False,
        threshold=tensors.take("threshold", (s,)),
        decoder_norm=decoder_norm(w_dec),
        transcoder="hf_hook_point_out" in cfg or (origin.hook is not None and origin.hook.kind == "mlp_in"),
        w_dec=w_dec,
        origin=origin,
    )
    tensors.check()
    return sae


def _origin(folder: Path, cfg: Settings) -> SaeOrigin:
    path = str(folder.resolve())
    model, layer = _MODEL.search(path), _LAYER.search(folder.resolve().name)
    hook = named_hook(cfg.get("hf_hook_point_in"))
    kind = next((kind for part, kind in _KINDS.items() if part in path), None)
    if hook["hook_name"] is None and kind is not None and layer is not None:
        hook = {"hook_name": folder.resolve().name, "hook": HookPoint(kind, int(layer.group(1)))}
    named = cfg.text("model_name") or (f"google/gemma-3-{model.group(1)}" if model else None)
    unknown = "neither config.json nor its path names a hook point, so nobody checks that it belongs to the layer"
    return SaeOrigin(
        format="gemma_scope_2",
        architecture="jump_relu",
        model=None if named is None else named.replace("-v3", "-3"),
        notes=() if hook["hook_name"] else (unknown,),
        **hook,
    )


def _recognises(path: Path) -> bool:
    return (path / _WEIGHTS).is_file()


GEMMA_SCOPE_2 = SaeFormat((_WEIGHTS,), load, _recognises, optional_files=(_CFG,))
