"""Tiny GGUF files: a Llama in a Python package, and byte-level tokenizers for others."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
from transformers.convert_slow_tokenizer import bytes_to_unicode

from tests.tokens.templates import CHATML

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
D, FF, HEADS, LAYERS = 32, 64, 4, 2


def add_byte_level_tokenizer(writer: gguf.GGUFWriter, pre: str, size: int = 260) -> None:
    """Bytes, three special tokens, and one merge, which would join the digits 1 and 2; filled up to `size`."""
    tokens = [*SPECIAL, *bytes_to_unicode().values(), "12"]
    kinds = [gguf.TokenType.CONTROL] * 3 + [gguf.TokenType.NORMAL] * (len(tokens) - 3)
    padding = range(len(tokens), size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list([*tokens, *(f"[PAD{n}]" for n in padding)])
    writer.add_token_types([*kinds, *(gguf.TokenType.UNUSED for _ in padding)])
    writer.add_token_merges(["1 2"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHATML)


def finish(writer: gguf.GGUFWriter, path: Path) -> Path:
    """Writes everything out."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def make_package(folder: Path, pre: str = "smollm", four_bit: tuple[str, ...] = (), split_max_tensors: int = 0) -> Path:
    """Writes the package to `folder` and returns its GGUF. The parts `four_bit` of all blocks are in Q4_1.

    With `split_max_tensors`, there are several files of no more tensors each.
    """
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    path = folder / "tiny.gguf"
    writer = gguf.GGUFWriter(path, "llama", split_max_tensors=split_max_tensors)
    writer.add_context_length(128)
    writer.add_embedding_length(D)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FF)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    writer.add_rope_dimension_count(D // HEADS)
    writer.add_vocab_size(260)
    add_byte_level_tokenizer(writer, pre)
    source = np.random.default_rng(0)
    shapes = {"token_embd.weight": (260, D), "output_norm.weight": (D,)}
    for n in range(LAYERS):
        shapes |= {f"blk.{n}.{part}.weight": (D, D) for part in ("attn_q", "attn_k", "attn_v", "attn_output")}
        shapes |= {f"blk.{n}.{part}.weight": (FF, D) for part in ("ffn_gate", "ffn_up")}
        shapes |= {f"blk.{n}.ffn_down.weight": (D, FF)}
        shapes |= {f"blk.{n}.{part}_norm.weight": (D,) for part in ("attn", "ffn")}
    for name, shape in shapes.items():
        values = source.standard_normal(shape).astype(np.float32)
        if name.split(".")[-2] in four_bit:
            kind = gguf.GGMLQuantizationType.Q4_1
            writer.add_tensor(name, gguf.quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, values)
    return finish(writer, path)
