"""SetWeights: the fitted numbers of one set, in a safetensors file next to its YAML file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from monitor.errors import ConfigError
from monitor.sets.probe import Probe
from monitor.yaml_file import read_bytes

_MAX_BYTES = 64 * 2**20
_INTEGERS, _FLOATS = ("int32", "int64"), ("float32",)
_DTYPES = {"indices": _INTEGERS, "weights": _FLOATS, "direction": _FLOATS, "offset": _FLOATS}
_PAIRS = (("indices", "weights"), ("direction", "offset"))


@dataclass(frozen=True)
class SetWeights:
    """Weights of latents, a probe, or both.

    The file holds `indices` [feature] (int32 or int64) and `weights` [feature] (float32) in the set's order, and for a
    probe `direction` [d] and `offset` [1] (float32).
    """

    indices: NDArray[np.int64]  # [feature]
    weights: NDArray[np.float32]  # [feature]
    probe: Probe | None = None


def load_weights(path: Path, sha256: str) -> tuple[SetWeights, bytes]:
    """The weights in a file, and its bytes. Raises ConfigError with every problem, or if its hash is not `sha256`."""
    raw = read_bytes(path)
    if len(raw) > _MAX_BYTES:
        raise ConfigError(f"{path}: larger than {_MAX_BYTES} bytes; it should hold only the weights of one set")
    found = hashlib.sha256(raw).hexdigest()
    if found != sha256:
        raise ConfigError(f"{path}: sha256 is {found}, but the set names {sha256}")
    try:
        tensors = load(raw)
    except (SafetensorError, TypeError, ValueError, KeyError) as e:
        raise ConfigError(f"{path}: not readable as safetensors: {e}") from None
    problems = [f"{path}: {problem}" for problem in _problems(tensors)]
    if problems:
        raise ConfigError(problems)
    probe = None
    if "direction" in tensors:
        probe = Probe.of(tensors["direction"], float(tensors["offset"][0]))
    indices = tensors.get("indices", np.zeros(0, np.int32)).astype(np.int64)
    return SetWeights(indices, tensors.get("weights", np.zeros(0, np.float32)), probe), raw


def save_weights(path: Path, weights: SetWeights) -> str:
    """Writes the file that `load_weights` reads, and returns its SHA-256."""
    tensors: dict[str, NDArray[np.generic]] = {}
    if weights.indices.size:
        tensors["indices"] = weights.indices.astype(np.int32)
        tensors["weights"] = weights.weights.astype(np.float32)
    if weights.probe is not None:
        tensors["direction"] = weights.probe.direction.astype(np.float32)
        tensors["offset"] = np.array([weights.probe.offset], np.float32)
    raw = save(tensors)
    path.write_bytes(raw)
    return hashlib.sha256(raw).hexdigest()


def _problems(tensors: Mapping[str, NDArray[np.generic]]) -> list[str]:
    problems = [f"{name}: unknown tensor" for name in sorted(set(tensors) - set(_DTYPES))]
    problems += [
        f"{missing}: missing; {present} needs it"
        for pair in _PAIRS
        for present, missing in (pair, pair[::-1])
        if present in tensors and missing not in tensors
    ]
    for name, dtypes in _DTYPES.items():
        if name in tensors:
            problems += _faults(name, tensors[name], dtypes)
    if not problems and not any(name in tensors for name in _DTYPES):
        problems.append("holds neither indices and weights nor direction and offset")
    if not problems and "indices" in tensors:
        indices, weights = tensors["indices"], tensors["weights"]
        if indices.size != weights.size:
            problems.append(f"weights: {weights.size} numbers for {indices.size} indices")
    return problems


def _faults(name: str, tensor: NDArray[np.generic], dtypes: tuple[str, ...]) -> list[str]:
    if tensor.dtype.name not in dtypes:
        return [f"{name}: dtype is {tensor.dtype.name}; {' or '.join(dtypes)} needed"]
    if tensor.ndim != 1 or tensor.size == 0 or (name == "offset" and tensor.size != 1):
        length = "1" if name == "offset" else "d" if name == "direction" else "feature"
        return [f"{name}: shape is {list(tensor.shape)}; [{length}] needed"]
    if dtypes == _FLOATS and not np.isfinite(tensor.astype(np.float64)).all():
        return [f"{name}: a number in it is not finite"]
    return []
