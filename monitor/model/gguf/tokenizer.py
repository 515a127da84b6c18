"""Rebuilds a tokenizer from a GGUF's vocabulary: byte-level BPE, or SentencePiece BPE with byte fallback."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE

from monitor.model.gguf.file import GgufFile

_KEY = "tokenizer.ggml"
_SPACE = "\u2581"


class _Kind(IntEnum):
    """The values of tokenizer.ggml.token_type that matter here."""

    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4


@dataclass(frozen=True)
class _Cut:
    """How text is split before byte-level merges; `tokenizer.ggml.pre` is its name."""

    regex: str | None = None
    """None = as in GPT-2."""
    digits_apart: bool = False
    whole_words: bool = False
    """A piece that is a token stays whole, whatever the merges would do."""
    compose: bool = False
    """Unicode NFC first. llama.cpp does not do this, but the models were trained with it."""
    begins: bool = False
    """Whether a text begins with the begin-of-sequence token, if the file does not say."""


# As in src/llama-vocab.cpp of llama.cpp, and in the tokenizer.json of the models with these names
_LLAMA_3 = _Cut(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+",
    whole_words=True,
    begins=True,
)
_CUTS = {
    "gpt-2": _Cut(),
    "default": _Cut(),
    "smollm": _Cut(digits_apart=True),
    "llama3": _LLAMA_3,
    "llama-v3": _LLAMA_3,
    "llama-bpe": _LLAMA_3,
    "qwen2": _Cut(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
        r"|\s+(?!\S)|\s+",
        compose=True,
    ),
    "tekken": _Cut(
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
        r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
        r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        whole_words=True,
        begins=True,
    ),
}


def special_tokens(file: GgufFile) -> dict[str, str]:
    """bos_token, eos_token and so on, if the file names them."""
    tokens = file.array(f"{_KEY}.tokens")
    # In a SentencePiece file without these keys, they are the first three tokens
    usual = {"unknown": 0, "bos": 1, "eos": 2} if file.text(f"{_KEY}.model") == "llama" else {}
    found = {}
    for name, key in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding")):
        full = f"{_KEY}.{key}_token_id"
        if file.has(full) or key in usual:
            number = file.count(full, usual.get(key))
            if number >= len(tokens):
                raise ValueError(f"{full}: {number}, of {len(tokens)} tokens")
            found[f"{name}_token"] = str(tokens[number])
    return found


def write_texts(file: GgufFile, folder: Path) -> None:
    """Writes tokenizer.json, tokenizer_config.json and, if there is one, chat_template.jinja. Raises ValueError."""
    build_tokenizer(file).save(str(folder / "tokenizer.json"), pretty=False)
    # This class uses tokenizer.json as it is; the model's own class would build a different tokenizer
    about = {"tokenizer_class": "PreTrainedTokenizerFast", **special_tokens(file)}
    (folder / "tokenizer_config.json").write_text(json.dumps(about, indent=2) + "\n")
    if file.has("tokenizer.chat_template"):
        (folder / "chat_template.jinja").write_text(file.text("tokenizer.chat_template"), encoding="utf-8")


def build_tokenizer(file: GgufFile) -> Tokenizer:
    """The tokenizer. Raises ValueError if its kind is not known, or if the vocabulary contradicts itself."""
    model = file.text(f"{_KEY}.model")
    builders = {"gpt2": _byte_level, "llama": _sentencepiece}
    if model not in builders:
        raise ValueError(f"{_KEY}.model: {model!r} is not read from GGUF; {' and '.join(builders)} are")
    try:
        tokenizer, begins = builders[model](file)
    except ValueError:
        raise
    except Exception as e:  # noqa: BLE001 - the library raises a bare Exception for a merge without its token
        raise ValueError(f"{_KEY}.tokens: {e}") from None
    _add_special(tokenizer, file)
    _frame(tokenizer, file, begins)
    return tokenizer


def _byte_level(file: GgufFile) -> tuple[Tokenizer, bool]:
    """Radford et al. 2019."""
    name = file.text(f"{_KEY}.pre")
    cut = _CUTS.get(name)
    if cut is None:
        raise ValueError(
            f"{_KEY}.pre: how {name!r} splits text is not known, only {', '.join(_CUTS)}; "
            "use the same model in safetensors: its folder or model-hub name as reader.model"
        )
    vocabulary = {token: n for n, token in enumerate(file.array(f"{_KEY}.tokens"))}
    merges = [_pair(merge) for merge in file.array(f"{_KEY}.merges")]
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=merges, ignore_merges=cut.whole_words))
    if cut.compose:
        tokenizer.normalizer = normalizers.NFC()
    steps: list[Any] = [pre_tokenizers.Digits(individual_digits=True)] if cut.digits_apart else []
    if cut.regex is not None:
        steps.append(pre_tokenizers.Split(Regex(cut.regex), behavior="isolated"))
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=cut.regex is None))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer, cut.begins


def _pair(merge: str) -> tuple[str, str]:
    left, space, right = merge.partition(" ")
    if not left or not space or not right or " " in right:
        raise ValueError(f"{_KEY}.merges: {merge!r} is not two tokens")
    return left, right


def _sentencepiece(file: GgufFile) -> tuple[Tokenizer, bool]:
    """Kudo and Richardson 2018, in its BPE mode."""
    gemma = file.architecture.startswith("gemma")
    tokens = file.array(f"{_KEY}.tokens")
    if gemma:  # the file writes runs of spaces as spaces
        tokens = [_SPACE * len(token) if _is_spaces(token) else token for token in tokens]
        # Gemma's merges are in the order of its tokens, not of its scores
        scores: Sequence[float] = range(0, -len(tokens), -1)
    else:
        scores = file.array(f"{_KEY}.scores")
    vocabulary = {token: n for n, token in enumerate(tokens)}
    tokenizer = Tokenizer(
        BPE(
            vocab=vocabulary,
            merges=_merges(vocabulary, tokens, scores),
            unk_token=special_tokens(file)["unk_token"],
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    spaces: list[Any] = [normalizers.Replace(" ", _SPACE)]
    undo: list[Any] = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if file.flag(f"{_KEY}.add_space_prefix", not gemma):
        spaces.insert(0, normalizers.Prepend(_SPACE))
        undo.append(decoders.Strip(" ", 1, 0))
    tokenizer.normalizer = normalizers.Sequence(spaces)
    tokenizer.decoder = decoders.Sequence(undo)
    return tokenizer, True


def _is_spaces(token: str) -> bool:
    return bool(token) and not token.strip(" ")


def _merges(vocabulary: dict[str, int], tokens: Sequence[str], scores: Sequence[float]) -> list[tuple[str, str]]:
    """All ways to make a token from two others, best score first; ties as in transformers' converters."""
    if len(scores) != len(tokens):
        raise ValueError(f"{_KEY}.scores: {len(scores)} for {len(tokens)} tokens")
    found = []
    for token, score in zip(tokens, scores, strict=True):
        for at in range(1, len(token)):
            left, right = token[:at], token[at:]
            if left in vocabulary and right in vocabulary:
                found.append((score, left, right))
    found.sort(key=lambda merge: (merge[0], len(merge[1]), len(merge[2])), reverse=True)
    return [(left, right) for _, left, right in found]


def _add_special(tokenizer: Tokenizer, file: GgufFile) -> None:
    """Adds the tokens that merges never make: control tokens, and those that were added by hand."""
    tokens = file.array(f"{_KEY}.tokens")
    kinds = file.array(f"{_KEY}.token_type") if file.has(f"{_KEY}.token_type") else [0] * len(tokens)
    if len(kinds) != len(tokens):
        raise ValueError(f"{_KEY}.token_type: {len(kinds)} for {len(tokens)} tokens")
    named = set(special_tokens(file).values())
    vocabulary = tokenizer.get_vocab(with_added_tokens=False)
    added = []
    for token, kind in zip(tokens, kinds, strict=True):
        special = kind in (_Kind.CONTROL, _Kind.UNKNOWN) or token in named
        if token in vocabulary and (special or kind == _Kind.USER_DEFINED):
            added.append(AddedToken(token, normalized=False, special=special))
    tokenizer.add_tokens(added)


def _frame(tokenizer: Tokenizer, file: GgufFile, begins: bool) -> None:
    """What comes before and after a text that is not rendered by a template."""
    special = special_tokens(file)
    first = special.get("bos_token") if file.flag(f"{_KEY}.add_bos_token", begins) else None
    last = special.get("eos_token") if file.flag(f"{_KEY}.add_eos_token", False) else None
    if first is None and last is None:
        return
    one, two = ([part for part in (first, f"${text}", last) if part is not None] for text in "AB")
    tokenizer.post_processor = processors.TemplateProcessing(
        single=one,
        pair=[*one, *(f"{part}:1" for part in two)],
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in {first, last} if token is not None],
    )
