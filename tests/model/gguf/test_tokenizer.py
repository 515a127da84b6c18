"""Tokenizers rebuilt from a GGUF, against transformers, sentencepiece and what the models' own files do."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import sentencepiece
from tokenizers import Tokenizer, models, trainers
from tokenizers.pre_tokenizers import ByteLevel
from transformers.integrations.gguf import convert_gguf_tokenizer

from monitor.model.gguf.file import GgufFile
from monitor.model.gguf.tokenizer import build_tokenizer, special_tokens
from tests.reader_model import ODD_TEXTS

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = (
    int(getattr(gguf.TokenType, name)) for name in ("NORMAL", "UNKNOWN", "CONTROL", "USER_DEFINED", "BYTE")
)
CONTRASTS = Path(__file__).parents[3] / "feature_sets" / "contrasts"
SPECIAL = {"<|begin|>": CONTROL, "<|end|>": CONTROL, "<think>": USER_DEFINED, "<｜odd▁one｜>": CONTROL}


def shipped_texts() -> Iterator[str]:
    for path in sorted(CONTRASTS.glob("*.jsonl")):
        for line in path.read_text().splitlines()[::20]:
            yield str(json.loads(line)["response"])


@cache
def texts() -> tuple[str, ...]:
    """Shipped ones, odd ones, and random pieces in a row."""
    source = np.random.default_rng(0)
    pieces = ["  ", " ", "the", "The", "\n", "\t", "é", "🎉", "12", "3456", "日本", "'LL", "_x", ".", "\r\n", "İ"]
    made = ["".join(source.choice(pieces, size)) for size in source.integers(1, 10, 500)]
    return (*(text for text in shipped_texts() if text), *(text for text in ODD_TEXTS if text), *made)


@cache
def byte_level() -> dict[str, Any]:
    """A byte-level vocabulary of the shipped texts, as GGUF metadata."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = trainers.BpeTrainer(
        vocab_size=1500, initial_alphabet=ByteLevel.alphabet(), show_progress=False, max_token_length=12
    )
    trained.train_from_iterator(shipped_texts(), trainer)
    model = json.loads(trained.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    return {
        "general.architecture": "llama",
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": [*tokens, *SPECIAL],
        "tokenizer.ggml.token_type": [NORMAL] * len(tokens) + list(SPECIAL.values()),
        "tokenizer.ggml.merges": [" ".join(pair) for pair in model["merges"]],
        "tokenizer.ggml.bos_token_id": len(tokens),
        "tokenizer.ggml.eos_token_id": len(tokens) + 1,
        "tokenizer.ggml.add_bos_token": False,
    }


@cache
def trained_sentencepiece() -> tuple[sentencepiece.SentencePieceProcessor, dict[str, Any]]:
    """A processor as Llama's is trained, and its vocabulary as GGUF metadata."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(line for text in shipped_texts() for line in text.splitlines() if line.strip()),
        model_writer=model,
        model_type="bpe",
        vocab_size=1200,
        byte_fallback=True,
        character_coverage=0.99,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        split_digits=True,
        minloglevel=2,
    )
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    ids = range(len(processor))
    kinds = {processor.is_unknown: UNKNOWN, processor.is_control: CONTROL, processor.is_byte: BYTE}
    return processor, {
        "general.architecture": "llama",
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": [processor.id_to_piece(n) for n in ids],
        "tokenizer.ggml.scores": [processor.get_score(n) for n in ids],
        "tokenizer.ggml.token_type": [next((kind for is_, kind in kinds.items() if is_(n)), NORMAL) for n in ids],
    }


def build(metadata: dict[str, Any], **changes: Any) -> Tokenizer:
    changed = {f"tokenizer.ggml.{key}": value for key, value in changes.items()}
    return build_tokenizer(GgufFile(metadata | changed, {}))


def of_transformers(metadata: dict[str, Any], **changes: Any) -> Tokenizer:
    renamed = {"model": "tokenizer_type", "pre": "pre_tokenizer_type"}
    keys = {k.removeprefix("tokenizer.ggml."): v for k, v in metadata.items() if k.startswith("tokenizer.")} | changes
    tokenizer, _ = convert_gguf_tokenizer(
        metadata["general.architecture"], {renamed.get(k, k): v for k, v in keys.items()}
    )
    return tokenizer


@pytest.mark.parametrize("pre", ["gpt-2", "default", "llama-bpe", "llama3", "llama-v3", "qwen2", "tekken"])
def test_byte_level_as_transformers(pre: str) -> None:
    ours, theirs = build(byte_level(), pre=pre), of_transformers(byte_level(), pre=pre)
    # transformers takes neither whole words nor Unicode's composed form from a GGUF, unlike the models' own files
    theirs.model.ignore_merges = pre in ("llama-bpe", "llama3", "llama-v3", "tekken")
    theirs.normalizer = ours.normalizer
    for text in texts():
        mine, other = ours.encode(text), theirs.encode(text, add_special_tokens=False)
        assert (mine.ids, mine.offsets) == (other.ids, other.offsets)
        assert ours.decode(mine.ids) == theirs.decode(other.ids)


@pytest.mark.parametrize(
    ("pre", "text", "pieces"),
    [
        ("smollm", "a 2024", ["a", " ", "2", "0", "2", "4"]),
        ("gpt-2", "a 2024", ["a", " 2024"]),
        ("llama-bpe", "a 2024", ["a", " ", "202", "4"]),
        ("qwen2", "a 2024", ["a", " ", "2", "0", "2", "4"]),
        ("tekken", "aBc 24", ["a", "Bc", " ", "2", "4"]),
        ("llama-bpe", "I'LL go\n\n", ["I", "'LL", " go", "\n\n"]),
        ("qwen2", "I'LL go\n\n", ["I", "'LL", " go", "\n\n"]),
        ("gpt-2", "I'LL go\n\n", ["I", "'", "LL", " go", "\n\n"]),
    ],
)
def test_where_text_is_cut(pre: str, text: str, pieces: list[str]) -> None:
    cut = build(byte_level(), pre=pre).pre_tokenizer.pre_tokenize_str(text)
    assert [text[start:end] for _, (start, end) in cut] == pieces


def test_a_word_that_is_a_token_is_taken_whole() -> None:
    changed = {"merges": ["x y"], "tokens": ["<|end|>", "x", "y", "z", "xy", "xyz"], "token_type": [NORMAL] * 6}
    changed |= {"bos_token_id": 0, "eos_token_id": 0}
    assert build(byte_level(), pre="llama-bpe", **changed).encode("xyz").tokens == ["xyz"]
    assert build(byte_level(), pre="gpt-2", **changed).encode("xyz").tokens == ["xy", "z"]


def test_qwen_composes_characters() -> None:
    tokenizer = build(byte_level(), pre="qwen2")
    apart = tokenizer.encode("cafe\u0301 !")
    assert apart.ids == tokenizer.encode("café !").ids
    assert apart.offsets[-1] == (6, 7)  # of the text as it came
    other = build(byte_level(), pre="llama-bpe")
    assert other.encode("cafe\u0301").ids != other.encode("café").ids


def test_special_tokens_are_found_in_text() -> None:
    tokenizer = build(byte_level(), pre="gpt-2")
    found = tokenizer.encode("a<|end|><think>b<｜odd▁one｜>").tokens
    assert found == ["a", "<|end|>", "<think>", "b", "<｜odd▁one｜>"]
    special = {token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special}
    assert special == set(SPECIAL) - {"<think>"}
    assert tokenizer.get_vocab_size() == len(byte_level()["tokenizer.ggml.tokens"])
    assert special_tokens(GgufFile(byte_level(), {})) == {"bos_token": "<|begin|>", "eos_token": "<|end|>"}


@pytest.mark.parametrize(
    ("changes", "frame"),
    [
        ({"add_bos_token": True}, ("<|begin|>", None)),
        ({"add_bos_token": True, "add_eos_token": True}, ("<|begin|>", "<|end|>")),
        ({"add_eos_token": True}, (None, "<|end|>")),
        ({}, (None, None)),
    ],
)
def test_what_frames_a_text(changes: dict[str, bool], frame: tuple[str | None, str | None]) -> None:
    tokenizer = build(byte_level(), pre="gpt-2", **changes)
    one = [token for token in (frame[0], "a", frame[1]) if token]
    assert tokenizer.encode("a").tokens == one
    assert tokenizer.encode("a", "a").tokens == one * 2
    assert tokenizer.encode("a", add_special_tokens=False).tokens == ["a"]


def test_llama_3_begins_a_text_where_the_file_is_silent() -> None:
    silent = {key: value for key, value in byte_level().items() if not key.endswith("add_bos_token")}
    assert build(silent, pre="llama-bpe").encode("a").tokens == ["<|begin|>", "a"]
    assert build(silent, pre="gpt-2").encode("a").tokens == ["a"]


def test_sentencepiece_as_the_reference() -> None:
    processor, metadata = trained_sentencepiece()
    tokenizer = build(metadata)
    for text in texts():
        assert tokenizer.encode(text, add_special_tokens=False).ids == processor.encode(text)
        assert tokenizer.encode(text).ids[:1] == [processor.bos_id()]
    assert tokenizer.decode(processor.encode("  Two boats lay")) == "  Two boats lay"
    assert special_tokens(GgufFile(metadata, {})) == {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}


def test_sentencepiece_without_a_space_in_front() -> None:
    _, metadata = trained_sentencepiece()
    assert build(metadata).encode("the", add_special_tokens=False).tokens == ["▁the"]
    tokenizer = build(metadata, add_space_prefix=False)
    assert tokenizer.encode(" the").tokens[-1] == "▁the"
    assert tokenizer.encode("the").tokens[1] != "▁the"
    assert tokenizer.decode(tokenizer.encode(" the").ids) == " the"


def test_gemma_as_transformers() -> None:
    _, metadata = trained_sentencepiece()
    tokens = [" " * len(t) if set(t) == {"▁"} and len(t) > 1 else t for t in metadata["tokenizer.ggml.tokens"]]
    added = {"<table>": USER_DEFINED, "    ": USER_DEFINED, "\n\n": USER_DEFINED, "<start_of_turn>": CONTROL}
    scores = np.random.default_rng(1).integers(0, 100, len(tokens)).tolist()  # Gemma's tell nothing
    gemma = metadata | {"general.architecture": "gemma3"}
    changes = {
        "tokens": [*tokens, *added],
        "token_type": [*metadata["tokenizer.ggml.token_type"], *added.values()],
        "scores": [*map(float, scores), *(-1000.0 for _ in added)],
    }
    ours, theirs = build(gemma, **changes, add_space_prefix=False), of_transformers(gemma, **changes)
    more = tuple(f"{a}<table>\n\n{b}<start_of_turn>" for a, b in zip(texts(), texts()[1:], strict=False))
    for text in (*texts(), *more):
        mine, other = ours.encode(text, add_special_tokens=False), theirs.encode(text, add_special_tokens=False)
        assert (mine.ids, mine.offsets) == (other.ids, other.offsets)
        assert ours.decode(mine.ids) == theirs.decode(other.ids)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "bert"}, r"tokenizer\.ggml\.model: 'bert' is not read from GGUF; gpt2 and llama are"),
        (
            {"pre": "viking"},
            r"tokenizer\.ggml\.pre: how 'viking' splits text is not known, only gpt-2, .*; use",
        ),
        ({"pre": None}, r"tokenizer\.ggml\.pre: expected text, got nothing"),
        ({"merges": ["a b c"]}, r"tokenizer\.ggml\.merges: 'a b c' is not two tokens"),
        ({"merges": ["a 猫"]}, r"tokenizer\.ggml\.tokens: .*猫"),
        ({"bos_token_id": 10**6}, r"tokenizer\.ggml\.bos_token_id: 1000000, of \d+ tokens"),
        ({"token_type": [1]}, r"tokenizer\.ggml\.token_type: 1 for \d+ tokens"),
    ],
)
def test_what_is_not_read(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(byte_level(), **({"pre": "gpt-2"} | changes))
