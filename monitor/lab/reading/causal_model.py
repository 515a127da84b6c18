"""Loads a whole causal language model, with its LM head, from a folder in transformers layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM

from monitor.errors import ConfigError
from monitor.machine import usable_cores
from monitor.readers.cut_model import TorchPrecision, usable_device
from monitor.readers.transformers_log import quiet_transformers


def load_causal_model(
    folder: Path, *, precision: TorchPrecision = "float32", device: str = "cpu", threads: int = 0
) -> Any:
    """The model of `folder`, for inference. Raises ConfigError if no causal LM can be loaded from it.

    On the CPU, torch uses `threads` threads from now on; 0 takes all cores that the process may use.
    """
    if device == "cpu":
        torch.set_num_threads(threads or usable_cores())
    place = usable_device(device)
    try:
        with quiet_transformers():
            model: Any = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=getattr(torch, precision),
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
            )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as e:
        raise ConfigError(f"{folder}: can't be loaded as a causal language model: {e}") from e
    return model.to(place).eval().requires_grad_(False)
