"""Tensors of payloads: sizes are checked before memory is taken, and nothing but numbers is read."""

from __future__ import annotations

import base64
import pickle
from typing import Any

import numpy as np
import pytest
import torch
import zstandard
from safetensors.torch import save

from monitor.errors import BadEvent
from monitor.readers.sent.tensors import Tensors, lens_tensor
from tests.sent_payloads import lens_object

VALUES = np.arange(12, dtype=np.float32).reshape(3, 4) / 7


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_numbers_are_those_of_torch(dtype: str) -> None:
    tensor = torch.from_numpy(VALUES).to(getattr(torch, dtype))
    found = Tensors(save({"x": tensor})).numbers("x", 2)
    np.testing.assert_array_equal(found, tensor.float().numpy())
    lens = lens_tensor(lens_object([VALUES], dtype), 1000, "$")
    np.testing.assert_array_equal(lens[0], tensor.float().numpy())


def test_a_small_frame_cannot_unpack_into_much() -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(50_000_000))
    given = {**lens_object([VALUES]), "data": base64.b64encode(bomb).decode()}
    with pytest.raises(BadEvent, match="49 bytes, but its shape and dtype need 48"):
        lens_tensor(given, 10_000, "$")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"shape": [10**6, 10**6, 10**6]}, "over activations.max_bytes"),
        ({"shape": [1, 3]}, "a shape of three numbers"),
        ({"shape": [1, -3, 4]}, "a shape of three numbers"),
        ({"shape": [1, 3, True]}, "a shape of three numbers"),
        ({"shape": [1, 3, 5]}, "need 60"),
        ({"original_dtype": "torch.int8"}, "none of float32"),
        ({"original_dtype": 3}, "none of float32"),
        ({"compression": "lz4"}, "only zstd"),
        ({"data": base64.b64encode(pickle.dumps([1])).decode()}, "not readable as zstd"),
        ({"data": 5}, "needs data"),
    ],
)
def test_what_is_no_tensor_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(BadEvent, match=words):
        lens_tensor({**lens_object([VALUES]), **changes}, 1000, "$")


def test_a_header_that_lies_is_refused() -> None:
    raw = save({"x": torch.from_numpy(VALUES)})
    for broken in (raw[:-1], raw + b"0", raw[8:], b"", b"\xff" * 8 + raw[8:]):
        with pytest.raises(BadEvent, match="not a safetensors file"):
            Tensors(broken)
