"""Stores an SAE in one file, and loads the latents of it that someone asks for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from monitor.errors import ConfigError
from monitor.model.narrow import narrowed, widened
from monitor.sae.hook_point import HookPoint
from monitor.sae.origin import SaeOrigin
from monitor.sae.weights import BY_LATENT, SaeWeights

_LATENTS = "latents"


def store_sae(path: Path, sae: SaeWeights) -> None:
    """Writes safetensors, in 16 bits a number where that loses nothing; w_enc as [latent, d]."""
    values = {
        field.name: getattr(sae, field.name)
        for field in fields(sae)
        # defaults are not written, so that other versions need not know the field
        if getattr(sae, field.name) is not field.default
    }
    arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
    arrays["w_enc"] = np.ascontiguousarray(sae.w_enc.T)
    settings = {name: value for name, value in values.items() if name not in arrays and name != "origin"}
    if sae.origin is not None:
        settings["origin"] = asdict(sae.origin)
    stored = {name: array if name == _LATENTS else narrowed(array) for name, array in arrays.items()}
    save_file(stored, path, {"sae": json.dumps(settings)})


def load_stored_sae(path: Path, latents: Sequence[int] | None = None) -> SaeWeights:
    """The SAE that `store_sae` wrote; only `latents`, in that order and numbered from 0, if they are given.

    Raises ConfigError if the file holds something else, or fewer latents.
    """
    try:
        with safe_open(path, "numpy") as file:
            settings: dict[str, Any] = json.loads((file.metadata() or {})["sae"])
            arrays: Mapping[str, NDArray[Any]] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        origin = _origin(settings.pop("origin")) if "origin" in settings else None
        numbers = arrays.get(_LATENTS)
        stored: dict[str, Any] = {name: array for name, array in arrays.items() if name not in ("w_enc", _LATENTS)}
        w_enc = arrays["w_enc"]
        whole = SaeWeights(**settings, **stored, w_enc=w_enc.T, latents=numbers, origin=origin)
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as e:
        raise ConfigError(f"{path}: not readable as a stored SAE: {e}") from None
    rows: Any = slice(None)
    if latents is not None:
        try:
            rows = whole.rows_of(latents)
        except ConfigError as e:
            raise ConfigError(f"{path}: {problem}" for problem in e.problems) from None
        whole = replace(whole, latents=None, width=None)
    by_latent = (*BY_LATENT, "w_dec")
    read: dict[str, Any] = {
        name: widened(array[rows] if name in by_latent else array) for name, array in stored.items()
    }
    return replace(whole, w_enc=np.ascontiguousarray(widened(w_enc[rows]).T), **read)


def _origin(values: dict[str, Any]) -> SaeOrigin:
    hook = values.pop("hook", None)
    notes = tuple(values.pop("notes", ()))
    return SaeOrigin(**values, hook=None if hook is None else HookPoint(**hook), notes=notes)
