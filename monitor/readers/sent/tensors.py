"""Tensors of a payload: the bytes of a safetensors file, or what vllm-lens sends, as numpy arrays."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeGuard

import numpy as np
import zstandard
from numpy.typing import NDArray
from safetensors import SafetensorError, deserialize

from monitor.errors import BadEvent

Array = NDArray[np.float32]

_FLOATS = {"F32": np.float32, "F16": np.float16}
_INTEGERS = {"I64": np.int64, "I32": np.int32, "U32": np.uint32}
_LENS_FLOATS = {"torch.float32": "F32", "torch.float16": "F16", "torch.bfloat16": "BF16"}
_SIZES = {"F32": 4, "F16": 2, "BF16": 2}
_MAX_WINDOW_BYTES = 128 * 1024 * 1024
PATH = "$.activations"


def from_base64(text: str, max_bytes: int, path: str) -> bytes:
    """The bytes in `text`. Raises BadEvent if they are too many or `text` isn't base64."""
    if len(text) > max_bytes * 4 // 3 + 4:
        raise BadEvent(f"over activations.max_bytes = {max_bytes}", path, kind="size")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadEvent("not base64", path, kind="encoding") from None


class Tensors:
    """The tensors of one safetensors file. Nothing in it is ever run."""

    def __init__(self, raw: bytes, path: str = PATH) -> None:
        """Raises BadEvent if `raw` isn't such a file."""
        read: Callable[[bytes], list[tuple[str, dict[str, Any]]]] = deserialize
        try:
            self._found = dict(read(raw))
        except (SafetensorError, ValueError) as e:
            raise BadEvent(f"not a safetensors file: {e}", path) from None
        self._path = path

    def numbers(self, name: str, ndim: int) -> Array:
        """The tensor `name` of `ndim` axes in float32. Raises BadEvent if there is none."""
        found = self._found.get(name)
        if found is None:
            there = ", ".join(sorted(self._found)[:8]) or "none"
            raise BadEvent(f"the payload has no tensor {name}; its tensors: {there}", self._path)
        return widened(found["data"], found["dtype"], list(found["shape"]), ndim, f"tensor {name}", self._path)

    def optional_numbers(self, name: str, ndim: int) -> Array | None:
        """As `numbers`; None if there is no such tensor."""
        return self.numbers(name, ndim) if name in self._found else None

    def token_ids(self) -> NDArray[np.int64] | None:
        """The tensor `token_ids` [token], if there is one. Raises BadEvent if it can't be that."""
        found = self._found.get("token_ids")
        if found is None:
            return None
        dtype = _INTEGERS.get(found["dtype"])
        if dtype is None or len(found["shape"]) != 1:
            raise BadEvent(f"tensor token_ids is {found['dtype']} {list(found['shape'])}, not integers", self._path)
        return np.frombuffer(found["data"], dtype=dtype).astype(np.int64)


def widened(raw: bytes, dtype: str, shape: list[int], ndim: int, what: str, path: str) -> Array:
    """Numbers in the dtype that safetensors calls so, as float32. Raises BadEvent if they are something else."""
    if dtype not in _SIZES:
        raise BadEvent(f"{what} is {dtype}; only F32, F16 and BF16 are read", path)
    if len(shape) != ndim or not all(shape):
        raise BadEvent(f"{what} has shape {shape}, but {ndim} axes are needed, none of them empty", path)
    if dtype == "BF16":
        values = (np.frombuffer(raw, np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32)
    else:
        values = np.frombuffer(raw, _FLOATS[dtype]).astype(np.float32)
    return values.reshape(shape)


def lens_tensor(given: Mapping[str, Any], max_bytes: int, path: str) -> Array:
    """What vllm-lens calls a serialised tensor, [layer, token, d]. Raises BadEvent if it isn't one.

    It is base64 of raw numbers, which are compressed with zstd if `compression` says so. `original_dtype` is that of
    the tensor; bfloat16 travels as int16. Source: vllm_lens/_helpers/_serialize.py in UKGovernmentBEIS/vllm-lens.
    """
    if "data" not in given and "handle" in given:
        raise BadEvent("holds a handle, which only vllm-lens' server can resolve; fetch it, and send its data", path)
    data, shape = given.get("data"), given.get("shape")
    original = given.get("original_dtype", f"torch.{given.get('dtype')}")
    dtype = _LENS_FLOATS.get(original) if isinstance(original, str) else None
    if dtype is None:
        raise BadEvent("its dtype is none of float32, float16 and bfloat16", f"{path}.original_dtype")
    if not isinstance(data, str) or not _is_shape(shape):
        raise BadEvent("needs data and a shape of three numbers, as vllm-lens writes them", path)
    size = math.prod(shape) * _SIZES[dtype]
    if size > max_bytes:
        raise BadEvent(f"{size} bytes, over activations.max_bytes = {max_bytes}", path, kind="size")
    raw = from_base64(data, max_bytes, f"{path}.data")
    compression = given.get("compression")
    if compression == "zstd":
        raw = _unpacked(raw, size, path)
    elif compression is not None:
        raise BadEvent("only zstd is read", f"{path}.compression")
    if len(raw) != size:
        raise BadEvent(f"{len(raw)} bytes, but its shape and dtype need {size}", path)
    return widened(raw, dtype, list(shape), 3, "residual_stream", path)


def _is_shape(shape: object) -> TypeGuard[list[int]]:
    return (
        isinstance(shape, list)
        and len(shape) == 3
        and all(isinstance(n, int) and not isinstance(n, bool) and 0 < n < 2**31 for n in shape)
    )


def _unpacked(raw: bytes, size: int, path: str) -> bytes:
    """At most one byte more than `size`, whatever the frame claims to hold."""
    try:
        frames = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES)
        with frames.stream_reader(raw) as reader:
            return bytes(reader.read(size + 1))
    except zstandard.ZstdError as e:
        raise BadEvent(f"not readable as zstd: {e}", path, kind="encoding") from None
