"""The layout of SAELens 3 to 6: a folder of cfg.json and sae_weights.safetensors.

Source: SAELens 6.54 (`sae_lens/saes/*.py`, `loading/pretrained_sae_loaders.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from monitor.sae.formats.decoder_norm import decoder_norm
from monitor.sae.formats.settings import Settings
from monitor.sae.formats.tensor_file import TensorFile, open_safetensors
from monitor.sae.origin import SaeOrigin, named_hook
from monitor.sae.sae_format import SaeFormat
from monitor.sae.weights import Architecture, Normalisation, SaeWeights

WEIGHTS_FILE = "sae_weights.safetensors"
_CFG = "cfg.json"

# SAELens saves BatchTopK SAEs as jumprelu with one threshold for all latents
_ARCHITECTURES: dict[str, Architecture] = {
    "standard": "relu",
    "jumprelu": "jumprelu",
    "gated": "gated",
    "topk": "topk",
    "transcoder": "relu",
    "skip_transcoder": "relu",
    "jumprelu_transcoder": "jumprelu",
    "jumprelu_skip_transcoder": "jumprelu",
}
_REFUSED = {
    "abstopk": "its activations may be negative, and detectors take every activation as 0 or more",
    "temporal": "its activations depend on the tokens before, which a reader's encoder doesn't see",
    "matching_pursuit": "its activations come from a search over many steps, which the readers don't do",
}
# Factors of fine-tuning, which only the decoder applies
_NOT_IN_ENCODER = ("scaling_factor", "finetuning_scaling_factor")


def load_saelens(folder: Path) -> SaeWeights:
    """The SAE in `folder`, in float32.

    Reads SAELens 6 and the older key names (`hook_point`, `activation_fn_str`, `activation_fn_kwargs`).
    Raises ConfigError naming file, key and rule for anything that would otherwise be read wrongly.
    """
    cfg = Settings.read(folder / _CFG)
    values = open_safetensors(folder / WEIGHTS_FILE)
    name = _architecture(cfg)
    architecture, transcoder = _ARCHITECTURES[name], name.endswith("transcoder")
    d, s = cfg.whole("d_in"), cfg.whole("d_sae")
    d_out = cfg.whole("d_out") if transcoder else d
    subtract = cfg.flag("apply_b_dec_to_input", not transcoder)
    if transcoder and subtract:
        raise cfg.wrong("apply_b_dec_to_input", "a transcoder can't subtract b_dec, which belongs to its output")
    tensors = TensorFile(folder / WEIGHTS_FILE, values, f"architecture {name} in {_CFG}")
    gated = architecture == "gated"
    w_dec = tensors.take("W_dec", (s, d_out))
    if "skip" in name:
        tensors.take("W_skip", (d_out, d))
    sae = SaeWeights(
        architecture=architecture,
        w_enc=tensors.take("W_enc", (d, s)),
        b_enc=np.zeros(s, np.float32) if gated else tensors.take("b_enc", (s,)),
        b_dec=tensors.take("b_dec", (d_out,)),
        subtract_b_dec=subtract,
        normalisation=_normalisation(cfg),
        threshold=tensors.take("threshold", (s,)) if architecture == "jumprelu" else None,
        b_gate=tensors.take("b_gate", (s,)) if gated else None,
        b_mag=tensors.take("b_mag", (s,)) if gated else None,
        r_mag=tensors.take("r_mag", (s,)) if gated else None,
        k=_k(cfg, s) if architecture == "topk" else None,
        decoder_norm=decoder_norm(w_dec),
        rescale_by_decoder_norm=architecture == "topk" and cfg.flag("rescale_acts_by_decoder_norm", False),
        transcoder=transcoder,
        w_dec=w_dec,
        origin=_origin(cfg, name),
    )
    tensors.check(also=_NOT_IN_ENCODER)
    return sae


def _recognises(path: Path) -> bool:
    return (path / _CFG).is_file() and (path / WEIGHTS_FILE).is_file()


SAELENS = SaeFormat((WEIGHTS_FILE,), load_saelens, _recognises)


def _architecture(cfg: Settings) -> str:
    name = cfg.get("architecture", "standard")
    activation = cfg.get("activation_fn_str", cfg.get("activation_fn", "relu"))
    if name == "standard" and activation == "topk":
        name = "topk"
    elif activation != "relu" and not (name == "topk" and activation == "topk"):
        raise cfg.wrong("activation_fn", f"{activation!r} is not supported for architecture {name}; relu and topk are")
    if name in _REFUSED:
        raise cfg.wrong("architecture", f"{name!r} is not supported: {_REFUSED[name]}")
    name = cfg.one_of("architecture", tuple(_ARCHITECTURES), "standard") if name != "topk" else name
    cfg.section("metadata").must_be("hook_head_index", None, "the SAE reads one attention head only")
    cfg.must_be("hook_head_index", None, "the SAE reads one attention head only")
    cfg.must_be("hook_point_head_index", None, "the SAE reads one attention head only")
    # hook_z only joins the heads of a token, which is how readers have them anyway
    cfg.one_of("reshape_activations", ("none", "hook_z"), "none")
    return str(name)


def _normalisation(cfg: Settings) -> Normalisation:
    name: Any = cfg.get("normalize_activations", "none")
    if isinstance(name, bool):  # older versions of SAELens wrote a boolean
        name = "expected_average_only_in" if name else "none"
    if name in ("none", "layer_norm", "constant_norm_rescale"):
        normalisation: Normalisation = name
        return normalisation
    if name == "expected_average_only_in":
        raise cfg.wrong(
            "normalize_activations",
            "expected_average_only_in hides a factor that is not in the file; "
            "fold it into the weights (SAELens: fold_activation_norm_scaling_factor) and save again",
        )
    raise cfg.wrong("normalize_activations", f"{name!r} is not supported")


def _k(cfg: Settings, s: int) -> int:
    old = cfg.section("activation_fn_kwargs")
    return old.whole("k", most=s) if "k" in old and "k" not in cfg else cfg.whole("k", most=s)


def _origin(cfg: Settings, architecture: str) -> SaeOrigin:
    metadata = cfg.section("metadata") if "metadata" in cfg else cfg
    kwargs = metadata.section("model_from_pretrained_kwargs")
    name = metadata.text("hook_name") or cfg.text("hook_name") or cfg.text("hook_point")
    return SaeOrigin(
        format="saelens",
        architecture=architecture,
        model=metadata.text("model_name"),
        model_sha256=metadata.text("model_sha256"),
        trained_on=metadata.text("dataset_path"),
        centred=kwargs.get("center_writing_weights") is True,
        **named_hook(name),
    )
