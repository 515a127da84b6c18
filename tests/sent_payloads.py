"""Payloads as serving engines send them, made from the hidden states of a tiny model."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zstandard
from numpy.typing import NDArray
from safetensors.torch import save, save_file
from torch import Tensor


def inline(tensors: Mapping[str, Tensor]) -> str:
    """A safetensors file in base64."""
    return base64.b64encode(save(dict(tensors))).decode()


def of_numpy(values: NDArray[np.float32], dtype: str = "float32") -> Tensor:
    return torch.from_numpy(values).to(getattr(torch, dtype)).contiguous()


def connector_file(path: Path, layers: list[NDArray[np.float32]], ids: NDArray[np.int32]) -> None:
    """What vLLM's ExampleHiddenStatesConnector writes for a request, with a lock that it has released.

    `hidden_states` [token, layer, d] and `token_ids` [token], next to FILE.lock.
    """
    hidden = torch.stack([of_numpy(values) for values in layers], dim=1)
    save_file({"hidden_states": hidden.contiguous(), "token_ids": torch.from_numpy(ids.astype(np.int64))}, path)
    path.with_name(f"{path.name}.lock").touch()


def lens_object(layers: list[NDArray[np.float32]], dtype: str = "float32", legacy: bool = False) -> dict[str, Any]:
    """What vllm-lens has under `activations.residual_stream`: [layer, token, d] as base64 of a zstd frame.

    Before it compressed, it wrote float32 without `original_dtype` and `compression`.
    """
    stacked = torch.stack([of_numpy(values, dtype) for values in layers])
    array = (stacked.view(torch.int16) if dtype == "bfloat16" else stacked).numpy()
    raw = array.tobytes()
    made: dict[str, Any] = {"dtype": str(array.dtype), "shape": list(array.shape)}
    if legacy:
        return {"data": base64.b64encode(raw).decode(), **made}
    packed = zstandard.ZstdCompressor(level=1).compress(raw)
    kind = {"original_dtype": f"torch.{dtype}", "compression": "zstd"}
    return {"data": base64.b64encode(packed).decode(), **made, **kind}
