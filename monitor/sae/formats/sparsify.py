"""The layout of EleutherAI's sparsify: a folder for each hook point, with cfg.json and sae.safetensors.

Source: sparsify 1.3 (`sparse_coder.py`, `fused_encoder.py`, `config.py`).
"""

from __future__ import annotations

from pathlib import Path

from monitor.errors import ConfigError
from monitor.sae.formats.decoder_norm import decoder_norm
from monitor.sae.formats.settings import Settings
from monitor.sae.formats.tensor_file import TensorFile, open_safetensors
from monitor.sae.hook_point import HookKind, HookPoint, hook_point
from monitor.sae.origin import SaeOrigin
from monitor.sae.sae_format import SaeFormat
from monitor.sae.weights import SaeWeights

_CFG, _WEIGHTS = "cfg.json", "sae.safetensors"
_INPUTS: dict[HookKind, HookKind] = {"mlp_out": "mlp_in", "resid_post": "resid_pre"}


def load(folder: Path) -> SaeWeights:
    """The SAE or transcoder in `folder`. Raises ConfigError for what would be read wrongly."""
    cfg = Settings.read(folder / _CFG)
    activation = cfg.get("activation", "topk")
    if activation == "groupmax":
        raise cfg.wrong("activation", "groupmax is not supported: the readers don't choose one latent of each group")
    cfg.one_of("activation", ("topk",), "topk")
    cfg.must_be("signed", False, "its activations may be negative, and detectors take every activation as 0 or more")
    transcoder = cfg.flag("transcode", False)
    d = cfg.whole("d_in")
    latents = cfg.get("num_latents", 0)
    s = cfg.whole("num_latents") if latents else d * cfg.whole("expansion_factor")
    tensors = TensorFile(folder / _WEIGHTS, open_safetensors(folder / _WEIGHTS), _CFG)
    w_dec = tensors.take("W_dec", (s, d))
    if cfg.flag("skip_connection", False):
        tensors.take("W_skip", (d, d))
    sae = SaeWeights(
        architecture="topk",
        w_enc=tensors.take("encoder.weight", (s, d), transposed=True),
        b_enc=tensors.take("encoder.bias", (s,)),
        b_dec=tensors.take("b_dec", (d,)),
        subtract_b_dec=not transcoder,
        k=cfg.whole("k", most=s),
        decoder_norm=decoder_norm(w_dec),
        transcoder=transcoder,
        w_dec=w_dec,
        origin=_origin(folder, transcoder),
    )
    tensors.check()
    return sae


def _origin(folder: Path, transcoder: bool) -> SaeOrigin:
    """The folder's name is the module whose output the SAE reads; a transcoder reads the module's input."""
    name = folder.resolve().name
    hook = hook_point(name)
    if hook is not None and transcoder:
        hook = HookPoint(_INPUTS[hook.kind], hook.layer) if hook.kind in _INPUTS else None
    try:
        run = Settings.read(folder.resolve().parent / "config.json")  # of the whole training run
    except ConfigError:
        run = Settings(folder, {})
    return SaeOrigin(
        format="sparsify",
        architecture="topk transcoder" if transcoder else "topk",
        model=run.text("model"),
        trained_on=run.text("dataset"),
        hook_name=name if hook is not None or name == "embed_tokens" else None,
        hook=hook,
        notes=() if hook is not None else ("its folder is named after no module, so nobody checks its layer",),
    )


def _recognises(path: Path) -> bool:
    return (path / _CFG).is_file() and (path / _WEIGHTS).is_file()


SPARSIFY = SaeFormat((_CFG, _WEIGHTS), load, _recognises)
