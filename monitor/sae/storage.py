"""Stores the encoder of an SAE in one file, and loads the latents of it that someone asks for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from monitor.errors import ConfigError
from monitor.model.narrow import narrowed, widened
from monitor.sae.weights import SaeWeights

_BY_LATENT = ("b_enc", "threshold", "b_gate", "b_mag", "r_mag", "decoder_norm")
_NOT_READ = ("w_dec", "origin")


def store_sae(path: Path, sae: SaeWeights) -> None:
    """Writes what a reader needs as safetensors, in 16 bits a number where that loses nothing; w_enc as [latent, d]."""
    values = {
        field.name: getattr(sae, field.name)
        for field in fields(sae)
        # defaults are not written, so that other versions need not know the field
        if field.name not in _NOT_READ and getattr(sae, field.name) is not field.default
    }
    arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
    arrays["w_enc"] = np.ascontiguousarray(sae.w_enc.T)
    settings = {name: value for name, value in values.items() if name not in arrays}
    save_file({name: narrowed(array) for name, array in arrays.items()}, path, {"sae": json.dumps(settings)})


def load_stored_sae(path: Path, latents: Sequence[int] | None = None) -> SaeWeights:
    """The encoder that `store_sae` wrote; only of `latents`, in that order, if they are given.

    Raises ConfigError if the file holds something else, or fewer latents.
    """
    try:
        with safe_open(path, "numpy") as file:
            settings: dict[str, Any] = json.loads((file.metadata() or {})["sae"])
            arrays: Mapping[str, NDArray[Any]] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, ValueError) as e:
        raise ConfigError(f"{path}: not readable as a stored SAE: {e}") from None
    width = arrays["w_enc"].shape[0]
    rows = slice(None) if latents is None else np.array(latents, np.int64)
    if latents and max(latents) >= width:
        raise ConfigError(f"{path}: no latent {max(latents)}: the SAE has {width}")
    chosen: dict[str, Any] = {
        name: widened(array[rows] if name in _BY_LATENT else array) for name, array in arrays.items()
    }
    chosen["w_enc"] = np.ascontiguousarray(widened(arrays["w_enc"][rows]).T)
    return SaeWeights(**settings, **chosen)
