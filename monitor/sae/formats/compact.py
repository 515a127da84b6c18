"""latentwatch's own layout: a folder with one file, which `latentwatch sae convert` writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from monitor.errors import ConfigError
from monitor.sae.sae_format import SAE_FORMATS, SaeFormat, detected_format
from monitor.sae.storage import load_stored_sae, store_sae
from monitor.sae.weights import Array, SaeWeights

_WEIGHTS = "latentwatch-sae.safetensors"


@dataclass(frozen=True)
class Converted:
    """A folder in the compact layout."""

    folder: Path
    sae: SaeWeights
    sha256: str
    bytes_before: int
    bytes_after: int
    rounding: float
    """Length of what rounding changed in the encoder, as a share of its length."""


def convert(
    path: Path, out: Path, latents: Sequence[int] | None, dtype: Literal["float32", "float16"], decoder: bool
) -> Converted:
    """Writes the SAE at `path` to the folder `out`, with all latents or only `latents`.

    Raises ConfigError if it can't be loaded, cut down or rounded, or if `out` exists.
    """
    if out.exists():
        raise ConfigError(f"{out}: exists already; name another folder or remove it")
    source = SAE_FORMATS.load(detected_format(path))
    whole = source.load(path)
    before = sum(file.stat().st_size for file in source.files(path))
    try:
        sae = whole if latents is None else whole.cut_down(latents)
    except ConfigError as e:
        raise ConfigError(f"{path}: {problem}" for problem in e.problems) from None
    if not decoder:
        sae = sae.without_decoder()
    exact = sae.w_enc
    if dtype == "float16":
        w_dec = None if sae.w_dec is None else _rounded(path, sae.w_dec)
        sae = replace(sae, w_enc=_rounded(path, sae.w_enc), w_dec=w_dec)
    out.mkdir(parents=True)
    file = out / _WEIGHTS
    store_sae(file, sae)
    file.chmod(0o644)  # safetensors lets only the owner read, but a sidecar runs as another user
    size = float(np.linalg.norm(exact)) or 1.0
    rounding = float(np.linalg.norm(exact - sae.w_enc)) / size
    return Converted(out, sae, COMPACT.sha256(out), before, file.stat().st_size, rounding)


def _rounded(path: Path, values: Array) -> Array:
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float16).astype(np.float32)
    if not np.isfinite(rounded).all():
        raise ConfigError(f"{path}: some weights are too large for float16; use --dtype float32")
    return rounded


def load(path: Path) -> SaeWeights:
    """The SAE in a folder that `convert` wrote. Raises ConfigError if it isn't one."""
    return load_stored_sae(path / _WEIGHTS)


def _recognises(path: Path) -> bool:
    return (path / _WEIGHTS).is_file()


COMPACT = SaeFormat((_WEIGHTS,), load, _recognises)
