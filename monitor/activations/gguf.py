"""Converts a GGUF file into transformers layout, once."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import Any

from monitor.activations.transformers_log import quiet_transformers
from monitor.errors import ConfigError

# Pre-tokenizers, by the name in tokenizer.ggml.pre, that put every digit into a token of its own
_DIGITS_APART = frozenset({"smollm"})


def convert(gguf: Path, folder: Path) -> None:
    """Writes model.safetensors (float32), config.json, tokenizer.json and the chat template of `gguf` to `folder`.

    The folder appears complete or not at all. Takes about half a minute for 135 M parameters.
    Raises ConfigError where the file cannot be read or a library is missing.
    """
    try:
        import torch
        from gguf import GGUFReader
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError as e:
        raise ConfigError(f"{gguf.name}: converting needs {e.name}; run: pip install 'latentwatch[torch]'") from None
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        with quiet_transformers():
            source = {"gguf_file": gguf.name, "local_files_only": True}
            tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **source)
            model: Any = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **source)
            _restore_digits(tokenizer.backend_tokenizer, _pre_tokenizer_name(GGUFReader(gguf)))
            # The weights are plain floats now; without this, transformers refuses to save what it takes for GGUF
            model.hf_quantizer = None
            del model.config.quantization_config
            model.save_pretrained(part)
            tokenizer.save_pretrained(part)
        # Another process may have been faster; its result is the same
        with contextlib.suppress(OSError):
            part.rename(folder)
    except (ValueError, KeyError, OSError) as e:
        raise ConfigError(f"{gguf}: not converted: {e}") from e
    finally:
        shutil.rmtree(part, ignore_errors=True)
    if not (folder / "config.json").is_file():
        raise ConfigError(f"{folder}: cannot be written")


def _pre_tokenizer_name(reader: Any) -> str:
    field = reader.fields.get("tokenizer.ggml.pre")
    return "" if field is None else bytes(field.parts[field.data[0]]).decode()


def _restore_digits(tokenizer: Any, name: str) -> None:
    """Puts back the Digits step, which transformers drops when it rebuilds a tokenizer from a GGUF."""
    from tokenizers import pre_tokenizers

    if name in _DIGITS_APART:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
