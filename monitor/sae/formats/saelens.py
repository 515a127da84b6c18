"""The SAELens layout: a folder of cfg.json and sae_weights.safetensors."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from monitor.errors import ConfigError
from monitor.sae.sae_format import SaeFormat
from monitor.sae.weights import Architecture, Normalisation, SaeWeights

WEIGHTS_FILE = "sae_weights.safetensors"

# SAELens saves BatchTopK SAEs as jumprelu with one threshold for all latents
_ARCHITECTURES: dict[str, Architecture] = {
    "standard": "relu",
    "jumprelu": "jumprelu",
    "gated": "gated",
    "topk": "topk",
}


def load_saelens(folder: Path) -> SaeWeights:
    """The encoder in `folder`, in float32.

    Reads SAELens 6 and the older key names (`activation_fn_str`, `activation_fn_kwargs`).
    Raises ConfigError naming file, key and rule for anything that would otherwise be read wrongly.
    """
    try:
        importlib.import_module("ml_dtypes")  # numpy knows bfloat16 by name once this is imported
    except ImportError:
        raise ConfigError(f"{folder}: reading an SAE needs ml_dtypes; pip install 'latentwatch[compile]'") from None
    cfg_path, weights_path = folder / "cfg.json", folder / WEIGHTS_FILE
    cfg = _read_cfg(cfg_path)
    try:
        tensors = {name: np.asarray(t, dtype=np.float32) for name, t in load_file(weights_path).items()}
    except FileNotFoundError:
        raise ConfigError(f"{weights_path}: missing") from None
    except (SafetensorError, TypeError, ValueError) as e:
        raise ConfigError(f"{weights_path}: not readable as safetensors: {e}") from None

    architecture = _architecture(cfg, cfg_path)
    d, s = _size(cfg, "d_in", cfg_path), _size(cfg, "d_sae", cfg_path)
    shapes: dict[str, tuple[int, ...]] = {"W_enc": (d, s), "W_dec": (s, d), "b_dec": (d,)}
    if architecture == "gated":
        shapes |= {"b_gate": (s,), "b_mag": (s,), "r_mag": (s,)}
    else:
        shapes["b_enc"] = (s,)
    if architecture == "jumprelu":
        shapes["threshold"] = (s,)
    problems = [
        f"{weights_path}: {name}: shape is {tensors[name].shape}, but cfg.json needs {shape}"
        if name in tensors
        else f"{weights_path}: {name}: missing; architecture {cfg.get('architecture')} needs it"
        for name, shape in shapes.items()
        if name not in tensors or tensors[name].shape != shape
    ]
    problems += [
        f"{weights_path}: {name}: has values that are not finite"
        for name in shapes
        if name in tensors and not np.isfinite(tensors[name]).all()
    ]
    if problems:
        raise ConfigError(problems)

    rescale = bool(cfg.get("rescale_acts_by_decoder_norm", False)) and architecture == "topk"
    return SaeWeights(
        architecture=architecture,
        w_enc=tensors["W_enc"],
        b_enc=tensors.get("b_enc", np.zeros(s, np.float32)) if architecture != "gated" else np.zeros(s, np.float32),
        b_dec=tensors["b_dec"],
        subtract_b_dec=bool(cfg.get("apply_b_dec_to_input", True)),
        normalisation=_normalisation(cfg, cfg_path),
        threshold=tensors["threshold"] if architecture == "jumprelu" else None,
        b_gate=tensors["b_gate"] if architecture == "gated" else None,
        b_mag=tensors["b_mag"] if architecture == "gated" else None,
        r_mag=tensors["r_mag"] if architecture == "gated" else None,
        k=_k(cfg, s, cfg_path) if architecture == "topk" else None,
        decoder_norm=np.linalg.norm(tensors["W_dec"], axis=1).astype(np.float32),
        rescale_by_decoder_norm=rescale,
    )


SAELENS = SaeFormat((WEIGHTS_FILE,), load_saelens)


def _read_cfg(path: Path) -> dict[str, Any]:
    try:
        cfg = json.loads(path.read_text())
    except FileNotFoundError:
        raise ConfigError(f"{path}: missing") from None
    except ValueError as e:
        raise ConfigError(f"{path}: not JSON: {e}") from None
    if not isinstance(cfg, dict):
        raise ConfigError(f"{path}: expected an object")
    return cfg


def _architecture(cfg: dict[str, Any], path: Path) -> Architecture:
    name = cfg.get("architecture", "standard")
    activation = cfg.get("activation_fn_str", cfg.get("activation_fn", "relu"))
    if name == "standard" and activation == "topk":
        name = "topk"
    elif name == "standard" and activation != "relu":
        raise ConfigError(f"{path}: activation_fn: {activation!r} is not supported; relu and topk are")
    if name not in _ARCHITECTURES:
        raise ConfigError(f"{path}: architecture: {name!r} is not supported; {', '.join(_ARCHITECTURES)} are")
    # files from before 6.0 may leave the reshaping to the hook's name
    by_name = "hook_z" if "hook_z" in str(cfg.get("hook_name", cfg.get("hook_point", ""))) else "none"
    if cfg.get("reshape_activations", by_name) != "none":
        raise ConfigError(f"{path}: reshape_activations: only none is supported (SAEs on the residual stream)")
    return _ARCHITECTURES[name]


def _normalisation(cfg: dict[str, Any], path: Path) -> Normalisation:
    name: Any = cfg.get("normalize_activations")
    if name is None or isinstance(name, bool):  # older versions of SAELens wrote a boolean
        name = "expected_average_only_in" if name else "none"
    if name in ("none", "layer_norm", "constant_norm_rescale"):
        normalisation: Normalisation = name
        return normalisation
    if name == "expected_average_only_in":
        raise ConfigError(
            f"{path}: normalize_activations: expected_average_only_in hides a factor that is not in the file; "
            "fold it into the weights (SAELens: fold_activation_norm_scaling_factor) and save again"
        )
    raise ConfigError(f"{path}: normalize_activations: {name!r} is not supported")


def _size(cfg: dict[str, Any], key: str, path: Path) -> int:
    value = cfg.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise ConfigError(f"{path}: {key}: expected a positive whole number, got {value!r}")
    return value


def _k(cfg: dict[str, Any], s: int, path: Path) -> int:
    kwargs = cfg.get("activation_fn_kwargs") or {}
    k = cfg.get("k", kwargs.get("k") if isinstance(kwargs, dict) else None)
    if not isinstance(k, int) or isinstance(k, bool) or not 0 < k <= s:
        raise ConfigError(f"{path}: k: expected a whole number from 1 to {s}, got {k!r}")
    return k
