"""CutModel: a transformers model without what comes after a hook layer, and the activations at its hooks."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, DynamicCache

from detectors.feature_set import HookName
from monitor.errors import ConfigError
from monitor.machine import usable_cores
from monitor.model.files import UNQUANTISED
from monitor.readers.residual_hook import hook_residual, text_blocks
from monitor.readers.transformers_log import quiet_transformers

TorchPrecision = Literal["float32", "bfloat16", "float16"]
_BLOCK = re.compile(r"(?:^|\.)(?:layers|h|blocks|block)\.(?P<number>\d+)\.")
_OTHER_STACK = re.compile(r"vision|visual|image|audio|speech|mtp|encoder")
# Masks and frequencies that older versions of transformers stored; models make their own
_BUFFERS = ("rotary_emb.inv_freq", "attn.bias", "attn.masked_bias", "attention.bias", "attention.masked_bias")


class CutModel:
    """A causal language model cut after the deepest of `layers`. The layers above and the LM head are never built."""

    def __init__(
        self,
        folder: Path,
        layers: Sequence[int],
        *,
        precision: TorchPrecision = "float32",
        device: str = "cpu",
        threads: int = 0,
        hook: HookName = "resid_post",
        further: Sequence[tuple[int, HookName]] = (),
    ) -> None:
        """`folder` is in transformers layout; `hook` is the hook point in each block, counted from 0;
        `further` are hook points in any blocks, which `activations` gives, too.

        On the CPU, torch uses `threads` threads from now on; 0 takes all cores that the process may use. Raises
        ConfigError if the folder holds no such model, or if the device cannot be used or is too small.
        """
        if device == "cpu":
            torch.set_num_threads(threads or usable_cores())
        self.device = usable_device(device)
        self.layers = tuple(layers)
        self._hook = hook
        self._points = dict.fromkeys([*((layer, hook) for layer in layers), *further])
        deepest = max(layer for layer, _ in self._points)
        model, text = _load(folder, deepest, getattr(torch, precision))
        blocks = text_blocks(model, deepest + 1)
        try:
            model = model.to(self.device).eval().requires_grad_(False)
        except RuntimeError as e:  # it does not fit, for example
            raise ConfigError(f"reader.device: {self.device}: {e}") from None
        self._model: Any = model  # transformers types its own attributes as Tensor | Module
        self.max_tokens: int | None = getattr(text, "max_position_embeddings", None)
        """The longest sequence that the model was built for, or None."""
        self.d_model = int(text.hidden_size)
        """Width of the residual stream."""
        self.vocabulary = int(cast(Any, model).get_input_embeddings().weight.shape[0])
        """Tokens that have an embedding."""
        self._found: dict[tuple[int, HookName], Tensor] = {}
        for point in self._points:
            hook_residual(blocks[point[0]], self._keep(point), point[1])

    def residuals(self, ids: Tensor, **inputs: Any) -> dict[int, Tensor]:
        """The activations [row, token, d] at the hook point of each layer for token ids [row, token].

        `inputs` are other arguments of the model's forward().
        """
        found = self.activations(ids, **inputs)
        return {layer: found[layer, self._hook] for layer in self.layers}

    def activations(self, ids: Tensor, **inputs: Any) -> dict[tuple[int, HookName], Tensor]:
        """As `residuals`, at all hook points."""
        self._model(input_ids=ids, **inputs)
        found, self._found = self._found, {}
        if len(found) < len(self._points):
            raise RuntimeError("a hook layer did not run")
        return found

    def new_cache(self) -> DynamicCache:
        """An empty cache of keys and values."""
        return DynamicCache(config=self._model.config)

    def _keep(self, point: tuple[int, HookName]) -> Callable[[Tensor], None]:
        def keep(residual: Tensor) -> None:
            self._found[point] = residual

        return keep


def usable_device(name: str) -> torch.device:
    """The torch device `name`. Raises ConfigError if this machine or this build of torch does not have it."""
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as e:  # a build of torch without CUDA raises AssertionError
        raise ConfigError(f"reader.device: {name}: {str(e).splitlines()[0]}") from None
    return device


def _load(folder: Path, layer: int, dtype: torch.dtype) -> tuple[nn.Module, Any]:
    """The model up to block `layer`, and the part of its config about text."""
    config: Any = None
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        text = config.get_text_config()
        if layer >= text.num_hidden_layers:
            raise ConfigError(f"{folder}: no layer {layer}: the model has {text.num_hidden_layers}")
        text.num_hidden_layers = layer + 1
        if getattr(text, "layer_types", None):
            with contextlib.suppress(AttributeError):  # some configs work it out from other keys
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
    except ConfigError:
        raise
    except Exception as e:  # the code of hundreds of architectures and quantisers raises anything
        reason = " ".join(str(e).split()) or type(e).__name__
        raise ConfigError(f"{folder}: not loaded as a transformers model: {reason}{_quantised(config)}") from e
    if missing := sorted(info["missing_keys"]):  # transformers would fill them with random numbers
        raise ConfigError(
            f"{folder}: the weights lack {missing[0]} ({len(missing)} tensors are missing){_quantised(config)}"
        )
    if unread := sorted(name for name in info["unexpected_keys"] if _in_text_block(name, layer)):
        raise ConfigError(
            f"{folder}: {unread[0]} has no place in a {type(model).__name__} as config.json describes it "
            f"({len(unread)} tensors are left over), so it would be read wrongly{_quantised(config)}"
        )
    return model, text


def _in_text_block(name: str, layer: int) -> bool:
    """Whether a tensor belongs to one of the blocks that are read. Blocks above are left out on purpose."""
    block = _BLOCK.search(name)
    return (
        block is not None
        and int(block["number"]) <= layer
        and _OTHER_STACK.search(name[: block.start()]) is None
        and not name.endswith(_BUFFERS)
    )


def _quantised(config: Any) -> str:
    """What to do if the weights are quantised; empty if they are not."""
    settings = getattr(config, "quantization_config", None)
    method = settings.get("quant_method") if isinstance(settings, dict) else getattr(settings, "quant_method", None)
    if settings is None:
        return ""
    return f"; its weights are quantised ({getattr(method, 'value', method)}): {UNQUANTISED}"
