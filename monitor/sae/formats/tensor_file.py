"""TensorFile: the tensors in one file of an SAE, taken by name and shape, with no code in the file run."""

from __future__ import annotations

import importlib
import math
import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from monitor.errors import ConfigError
from monitor.sae.weights import Array

_MOST_ZEROS = 1 << 28
"""A gigabyte. Settings may name any width, and nothing of that size has to be in the file."""


class TensorFile:
    """Gives tensors in float32 and collects what is wrong with them; `check` raises it all at once."""

    def __init__(self, path: Path, values: Mapping[str, Any], needed_by: str) -> None:
        """`needed_by` says in messages what asks for tensors and shapes, such as `architecture topk`."""
        self.path = path
        self.needed_by = needed_by
        self._values = values
        self._used: set[str] = set()
        self._problems: list[str] = []

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def names(self) -> tuple[str, ...]:
        return tuple(self._values)

    def other(self, name: str) -> Any:
        """Something else than a tensor, as some .pt files hold; None if it is missing."""
        self._used.add(name)
        return self._values.get(name)

    def shape(self, name: str) -> tuple[int, int]:
        """The shape of a matrix, which settings don't give. Raises ConfigError at once."""
        shape = tuple(getattr(self._values.get(name), "shape", ()))
        if len(shape) != 2:
            raise ConfigError(f"{self.path}: {name}: {self._not_there(name)}, not a matrix")
        return int(shape[0]), int(shape[1])

    def take(self, name: str, shape: tuple[int, ...], *, transposed: bool = False) -> Array:
        """The tensor `name`, which must have `shape` in the file; `transposed` turns it afterwards."""
        self._used.add(name)
        value = self._values.get(name)
        found = tuple(getattr(value, "shape", (-1,)))
        if value is None or found != shape:
            rule = f"shape is {found}, but {self.needed_by} needs {shape}"
            self._problems.append(f"{self.path}: {name}: {self._not_there(name) if value is None else rule}")
        else:
            array = _float32(value)
            if np.isfinite(array).all():
                return np.ascontiguousarray(array.T) if transposed else array
            self._problems.append(f"{self.path}: {name}: has values that are not finite")
        return self._zeros(shape[::-1] if transposed else shape)

    def take_or_zeros(self, name: str, shape: tuple[int, ...]) -> Array:
        """As `take`, but zeros if the file has no such tensor."""
        return self.take(name, shape) if name in self else self._zeros(shape)

    def check(self, also: Sequence[str] = ()) -> None:
        """Raises ConfigError with every problem, and for tensors that nothing has taken; those in `also` are fine.

        An unknown tensor may change what the SAE computes, so ignoring it could mean reading wrongly.
        """
        unknown = sorted(set(self._values) - self._used - set(also))
        if unknown and not self._problems:
            self._problems.append(f"{self.path}: {unknown[0]}: {self.needed_by} has no such tensor; is it another SAE?")
        if self._problems:
            raise ConfigError(self._problems)

    def _zeros(self, shape: tuple[int, ...]) -> Array:
        """In place of a tensor that is not there. Raises ConfigError if the settings ask for too large a one."""
        if math.prod(shape) > _MOST_ZEROS:
            raise ConfigError(self._problems or f"{self.path}: {self.needed_by} needs a tensor of shape {shape}")
        return np.zeros(shape, np.float32)

    def _not_there(self, name: str) -> str:
        return "there" if name in self._values else f"missing; {self.needed_by} needs it"


def open_safetensors(path: Path) -> Mapping[str, Any]:
    """The tensors of a safetensors file. Raises ConfigError if it isn't one."""
    try:
        importlib.import_module("ml_dtypes")  # numpy knows bfloat16 by name once this is imported
    except ImportError:
        raise ConfigError(f"{path}: reading an SAE needs ml_dtypes; pip install 'latentwatch[compile]'") from None
    values: Mapping[str, Any] = _opened(path, load_file, "safetensors", (SafetensorError, TypeError, ValueError))
    return values


def open_npz(path: Path) -> Mapping[str, Any]:
    """The arrays of an .npz file. Raises ConfigError if it isn't one, or if it holds Python objects."""

    def load(file: Path) -> dict[str, Any]:
        # numpy leaves a file open that it opened itself and could not read
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
            return dict(arrays)

    # numpy and zipfile raise their own errors and those of the modules below them, down to tokenize
    values: Mapping[str, Any] = _opened(path, load, "an .npz file", (Exception,))
    return values


def open_torch(path: Path) -> Mapping[str, Any]:
    """The dict in a .pt file, loaded in the way that runs none of its code. Raises ConfigError if it isn't that."""
    try:
        import torch
    except ImportError:
        raise ConfigError(f"{path}: reading a .pt file needs torch; pip install 'latentwatch[torch]'") from None

    def load(file: Path) -> Any:
        return torch.load(file, map_location="cpu", weights_only=True)

    try:
        values = _opened(path, load, "a .pt file", (RuntimeError, EOFError, ValueError, KeyError))
    except pickle.UnpicklingError as e:
        if "GLOBAL" not in str(e) and "global" not in str(e):
            raise ConfigError(f"{path}: not readable as a .pt file: {str(e).splitlines()[0]}") from None
        raise ConfigError(
            f"{path}: holds Python objects besides tensors, and loading those could run code from the file; "
            "save its state dict alone, or as safetensors"
        ) from None
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise ConfigError(f"{path}: expected a dict of tensors")
    return values


def _opened(path: Path, load: Callable[[Path], Any], kind: str, faults: tuple[type[Exception], ...]) -> Any:
    unreadable: tuple[type[Exception], ...] = (OSError, *faults)
    try:
        return load(path)
    except FileNotFoundError:
        raise ConfigError(f"{path}: missing") from None
    except unreadable as e:
        raise ConfigError(f"{path}: not readable as {kind}: {e}") from None


def _float32(value: Any) -> Array:
    if not isinstance(value, np.ndarray):  # a tensor of torch
        value = value.detach().float().numpy()
    return np.asarray(value, dtype=np.float32)
