"""Stores float32 numbers in 16 bits each if that loses nothing, as with weights that were published that way."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def narrowed(values: NDArray[np.float32]) -> NDArray[Any]:
    """The same numbers as float16, or as uint16 with the bits of bfloat16; float32 if neither holds all of them."""
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    if np.array_equal(half.astype(np.float32), values):
        return half
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    if not (bits & np.uint32(0xFFFF)).any():
        return (bits >> np.uint32(16)).astype(np.uint16)
    return values


def widened(values: NDArray[Any]) -> NDArray[np.float32]:
    """What `narrowed` was given."""
    if values.dtype == np.uint16:
        return (values.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return values.astype(np.float32)
