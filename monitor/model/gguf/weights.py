"""Writes the tensors of a GGUF as float32 safetensors, a block of rows at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from gguf import dequantize
from numpy.typing import NDArray

from monitor.model.four_bit import BLOCK, FourBitWeight
from monitor.model.gguf.config import family_of, tensor_names
from monitor.model.gguf.file import GgufFile, GgufTensor

# How many values are in memory as float32 at a time
_BLOCK_VALUES = 4_000_000


def write_weights(file: GgufFile, path: Path) -> None:
    """Writes `path` with the names of transformers. Needs memory for a few million values, however large the model is.

    Format: https://github.com/huggingface/safetensors#format. Raises ValueError if the model or a number format is not
    known, and OSError.
    """
    names = {new: old for old, new in tensor_names(file).items()}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in sorted(names):
        shape = file.tensors[names[name]].shape
        start, end = end, end + 4 * int(np.prod(shape, dtype=np.int64))
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as out:
        out.write(len(encoded).to_bytes(8, "little"))
        out.write(encoded)
        for name in sorted(names):
            for block in _blocks(file, file.tensors[names[name]]):
                out.write(block.data)


def decoded(file: GgufFile, name: str) -> NDArray[np.float32]:
    """The values of the tensor `name`, in the order of transformers. Raises ValueError."""
    tensor = file.tensors[name]
    return np.concatenate(list(_blocks(file, tensor))).reshape(tensor.shape)


def four_bit(file: GgufFile, name: str) -> FourBitWeight | None:
    """The tensor `name` in Q4_1, with rows in the order of transformers; None if it is in another format.

    A block of Q4_1 is a float16 unit, a float16 offset, and the levels of 32 values: those of the first half in the low
    four bits of 16 bytes, those of the second half in the high ones.
    """
    tensor = file.tensors[name]
    if tensor.kind.name != "Q4_1" or len(tensor.shape) != 2:
        return None
    order = _row_order(file, tensor) if family_of(file).paired_rows else None
    rows = tensor.data if order is None else tensor.data[order]
    blocks = rows.reshape(rows.shape[0], -1, 4 + BLOCK // 2)
    units, offsets = np.moveaxis(np.ascontiguousarray(blocks[:, :, :4]).view("<f2").astype(np.float32), -1, 0)
    levels = np.concatenate([blocks[:, :, 4:] & 15, blocks[:, :, 4:] >> 4], axis=-1)
    return FourBitWeight(levels, units, offsets)


def split_int8_blocks(tensor: GgufTensor) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    """Levels [row, column] and the scales [row, block] of a tensor in Q8_0: a float16 and 32 levels a block."""
    blocks = tensor.data.reshape(tensor.data.shape[0], -1, 34)
    scales = np.ascontiguousarray(blocks[:, :, :2]).view("<f2")[:, :, 0]
    return np.ascontiguousarray(blocks[:, :, 2:]).view(np.int8).reshape(tensor.shape), scales.astype(np.float16)


def _blocks(file: GgufFile, tensor: GgufTensor) -> Iterator[NDArray[np.float32]]:
    """The tensor's values in the order of transformers, some rows at a time."""
    family = family_of(file)
    order = _row_order(file, tensor) if family.paired_rows else None
    if len(tensor.shape) == 1:
        values = _decoded(tensor, tensor.data).reshape(-1)
        if tensor.name.endswith("norm.weight"):
            with np.errstate(invalid="ignore"):  # what is not a number stays none
                values = values - np.float32(family.norm_offset)
        yield np.ascontiguousarray(values if order is None else values[order], dtype="<f4")
        return
    step = max(1, _BLOCK_VALUES // tensor.shape[-1])
    for start in range(0, tensor.data.shape[0], step):
        rows = slice(start, start + step) if order is None else order[start : start + step]
        yield np.ascontiguousarray(_decoded(tensor, tensor.data[rows]), dtype="<f4")


def _decoded(tensor: GgufTensor, rows: NDArray[np.uint8]) -> NDArray[np.float32]:
    try:
        values: NDArray[np.float32] = dequantize(rows, tensor.kind)
    except NotImplementedError:
        raise ValueError(f"{tensor.name}: {tensor.kind.name} is not decoded by the gguf package") from None
    return values


def _row_order(file: GgufFile, tensor: GgufTensor) -> NDArray[np.int64] | None:
    """Where the rows of transformers' queries and keys are in the GGUF; None for other tensors.

    Undoes LlamaModel.permute of llama.cpp's convert_hf_to_gguf.py.
    """
    heads = file.count(f"{file.architecture}.attention.head_count")
    if ".attn_k." in tensor.name:
        heads = file.count(f"{file.architecture}.attention.head_count_kv", heads)
    elif ".attn_q." not in tensor.name:
        return None
    rows = np.arange(tensor.shape[0])  # head, half of the head's width, first or second half
    return rows.reshape(heads, -1, 2).swapaxes(1, 2).reshape(-1)
