"""Probe: a linear direction in the residual stream, as probe sets name it by hash."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from monitor.errors import ConfigError

_MAX_BYTES = 1_048_576


@dataclass(frozen=True)
class Probe:
    """A token's projection is x @ `direction` + `offset`, for its residual stream x [d] at the sets' hook.

    The offset puts 0 where a token says nothing, so that pooling may count in tokens without evidence.
    """

    sha256: str
    direction: NDArray[np.float32]  # [d]
    offset: float


def load_probe(path: Path, sha256: str) -> Probe:
    """The probe in a safetensors file. Raises ConfigError where it cannot be read or is another than `sha256`."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError(f"{path}: larger than {_MAX_BYTES} bytes; a probe is one direction")
        raw = path.read_bytes()
    except OSError as e:
        raise ConfigError(f"{path}: cannot be read: {e.strerror}") from None
    found = hashlib.sha256(raw).hexdigest()
    if found != sha256:
        raise ConfigError(f"{path}: sha256 is {found}, but the set names {sha256}")
    try:
        tensors = load(raw)
        direction = tensors["direction"].astype(np.float32)
        offset = tensors["offset"].astype(np.float32)
    except (SafetensorError, KeyError, TypeError) as e:
        raise ConfigError(f"{path}: not a probe in safetensors with `direction` and `offset`: {e}") from None
    if direction.ndim != 1 or offset.size != 1:
        raise ConfigError(
            f"{path}: direction has shape {direction.shape} and offset {offset.shape}; [d] and [1] needed"
        )
    if not (np.isfinite(direction).all() and np.isfinite(offset).all()):
        raise ConfigError(f"{path}: a number in it is not finite")
    return Probe(sha256, direction, float(offset.reshape(-1)[0]))


def save_probe(path: Path, direction: NDArray[np.float32], offset: float) -> str:
    """Writes the file that `load_probe` reads and returns its SHA-256."""
    raw = save({"direction": direction.astype(np.float32), "offset": np.array([offset], np.float32)})
    path.write_bytes(raw)
    return hashlib.sha256(raw).hexdigest()


def stacked(probes: Sequence[Probe], d: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """All directions [d, probe] and offsets [probe]. Raises ConfigError where one is not for width `d`."""
    for probe in probes:
        if probe.direction.size != d:
            raise ConfigError(f"a probe has {probe.direction.size} numbers, but the residual stream has width {d}")
    directions = np.zeros((d, len(probes)), np.float32)
    for n, probe in enumerate(probes):
        directions[:, n] = probe.direction
    return directions, np.array([probe.offset for probe in probes], np.float32)
