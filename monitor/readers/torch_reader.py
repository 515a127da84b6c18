"""TorchReader: any transformers causal LM, cut after the hook layer, and the curated rows of its SAE."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, DynamicCache

from monitor.errors import ConfigError
from monitor.machine import usable_cores
from monitor.readers.batches import token_budgeted
from monitor.readers.reader import Chunk
from monitor.readers.transformers_log import quiet_transformers


@dataclass(frozen=True)
class TorchPast:
    """Keys and values of tokens already read, one sequence."""

    cache: Any
    length: int


class TorchReader:
    """Reads chunks with torch; the reference for correctness and the path for GPUs.

    Layers above the hook and the LM head are never built. Chunks that continue the same past share batches.
    """

    def __init__(
        self,
        folder: Path,
        layer: int,
        encoder: Callable[[Tensor], Tensor],
        *,
        device: str = "cpu",
        dtype: Literal["float32", "bfloat16", "float16"] = "float32",
        batch_tokens: int = 4096,
        max_norm: float | None = None,
        threads: int = 0,
    ) -> None:
        """`folder` is in transformers layout; the hook is the output of block `layer`, counted from 0.

        `encoder` maps the residual stream [token, d] to activations [token, feature]: a CuratedEncoder, as a rule.
        """
        if device == "cpu":
            torch.set_num_threads(threads or usable_cores())
        self._device = usable_device(device)
        self._encoder = encoder
        self._batch_tokens = batch_tokens
        self._max_norm = max_norm
        model, blocks, self._max_tokens = load_prefix(folder, layer, getattr(torch, dtype), self._device)
        self._model: Any = model  # transformers types its own attributes as Tensor | Module
        self._residual: Tensor | None = None
        blocks[layer].register_forward_hook(self._keep_residual)

    @property
    def max_tokens(self) -> int | None:
        return self._max_tokens

    @property
    def cached_tokens(self) -> int:
        return 0

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return int(self._model.config.get_text_config().hidden_size)

    def read(self, chunks: Sequence[Chunk]) -> list[NDArray[np.float32]]:
        results: list[NDArray[np.float32]] = [np.empty((0, 0), np.float32)] * len(chunks)
        by_past: dict[int, list[int]] = {}
        for position, chunk in enumerate(chunks):
            by_past.setdefault(id(chunk.past), []).append(position)
        for positions in by_past.values():
            for batch in token_budgeted([chunks[p].tokens.size for p in positions], self._batch_tokens):
                members = [positions[b] for b in batch]
                for position, activations in zip(members, self._read_batch([chunks[p] for p in members]), strict=True):
                    results[position] = activations
        return results

    def remember(self, tokens: NDArray[np.int32]) -> TorchPast:
        cache = DynamicCache(config=self._model.config)
        ids = torch.from_numpy(tokens.astype(np.int64)).unsqueeze(0).to(self._device)
        with torch.inference_mode():
            self._model(input_ids=ids, past_key_values=cache, use_cache=True)
        return TorchPast(cache, int(tokens.size))

    @torch.inference_mode()
    def _read_batch(self, chunks: Sequence[Chunk]) -> list[NDArray[np.float32]]:
        lengths = [chunk.tokens.size for chunk in chunks]
        width = max(lengths)
        ids = torch.zeros((len(chunks), width), dtype=torch.long)
        for row, chunk in enumerate(chunks):
            ids[row, : chunk.tokens.size] = torch.from_numpy(chunk.tokens.astype(np.int64))
        residual = self._run(ids.to(self._device), chunks[0].past)  # [chunk, width, d]
        real = torch.arange(width) < torch.tensor(lengths)[:, None]  # [chunk, width]
        flat = residual[real.to(self._device)].float()  # [token, d]
        activations = self._encoder(flat)  # [token, feature]
        if self._max_norm is not None:
            # massive activations (Sun et al. 2024) lie far outside what the SAE was trained on
            activations[flat.norm(dim=1) > self._max_norm] = 0
        return list(np.split(activations.cpu().numpy(), np.cumsum(lengths)[:-1]))

    def _run(self, ids: Tensor, past: Any) -> Tensor:
        cache = None
        if isinstance(past, TorchPast):
            cache = copy.deepcopy(past.cache)  # the model appends to it
            cache.batch_repeat_interleave(ids.shape[0])
        # Padding needs no mask: it stands behind the text, where a causal model's tokens never look
        self._model(input_ids=ids, past_key_values=cache, use_cache=cache is not None)
        residual, self._residual = self._residual, None
        if residual is None:
            raise RuntimeError("the hook layer did not run")
        return residual

    def _keep_residual(self, _module: nn.Module, _inputs: Any, output: Any) -> None:
        self._residual = output[0] if isinstance(output, tuple) else output


def usable_device(name: str) -> torch.device:
    """The torch device `name`. Raises ConfigError where this machine, or this build of torch, does not have it."""
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as e:  # torch asserts where it was built without CUDA
        raise ConfigError(f"reader.device: {name}: {str(e).splitlines()[0]}") from None
    return device


def load_prefix(
    folder: Path, layer: int, dtype: torch.dtype, device: torch.device
) -> tuple[nn.Module, nn.ModuleList, int | None]:
    """The model up to block `layer`, its blocks, and the longest sequence it was built for, in tokens.

    Raises ConfigError where the folder holds no such model or the device cannot take it.
    """
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        text = config.get_text_config()
        if layer >= text.num_hidden_layers:
            raise ConfigError(f"{folder}: no layer {layer}: the model has {text.num_hidden_layers}")
        text.num_hidden_layers = layer + 1
        if getattr(text, "layer_types", None):
            text.layer_types = text.layer_types[: layer + 1]
        with quiet_transformers():
            model, info = AutoModel.from_pretrained(
                folder,
                config=config,
                dtype=dtype,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
            )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as e:
        raise ConfigError(f"{folder}: not loaded as a transformers model: {e}") from e
    if missing := sorted(info["missing_keys"]):  # transformers would go on with random numbers
        raise ConfigError(f"{folder}: the weights lack {missing[0]} (of {len(missing)} that are missing)")
    blocks = text_blocks(model, layer + 1)
    try:
        model = model.to(device).eval().requires_grad_(False)
    except RuntimeError as e:  # it does not fit, say
        raise ConfigError(f"reader.device: {device}: {e}") from None
    return model, blocks, getattr(text, "max_position_embeddings", None)


def text_blocks(model: Any, count: int) -> nn.ModuleList:
    """The `count` transformer blocks that read text. Raises ConfigError where `model` has no stack of that many."""
    # in a model that reads images as well, another stack may happen to be as long
    stacks = [m for m in model.get_decoder().modules() if isinstance(m, nn.ModuleList) and len(m) == count]
    if not stacks:
        raise ConfigError(f"found no stack of {count} transformer blocks in {type(model).__name__}")
    return stacks[0]
