"""RowStream: text sources as packed rows, with some documents held out."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from monitor.errors import ConfigError
from monitor.lab.sae_training.documents import Document, TextSource
from monitor.lab.sae_training.packing import PackedRow, Packer
from monitor.lab.sae_training.text_sources import held_out, mixed
from monitor.model.files import ModelFiles
from monitor.tokens.chat_template import ChatTemplate
from monitor.tokens.tokeniser import EventTokeniser, Tokenised

Split = Literal["train", "held_out"]
_GROUP = 64
_Ids = NDArray[np.int32]


@dataclass(frozen=True)
class TextOptions:
    """How texts become rows."""

    context: int = 256
    """Tokens per row."""
    chat: bool = True
    """Whether to render conversations with the model's chat template, or as plain text, one turn after another."""
    tokens: int | None = None
    """Stop once both splits together have this many counted tokens; unfinished rows are still added. None reads all."""
    held_out: float = 0.02
    """Share of the documents that is held out."""
    seed: int = 0


class RowStream:
    """Packed rows of `sources`, the same on every call. No row mixes the two splits."""

    def __init__(self, sources: Sequence[TextSource], model: ModelFiles, options: TextOptions) -> None:
        """Raises ConfigError if an option is out of range."""
        if options.context < 16:
            raise ConfigError(f"--context: {options.context}: must be at least 16 tokens")
        if not 0 <= options.held_out < 1:
            raise ConfigError(f"--held-out: {options.held_out}: must be at least 0 and below 1")
        self._sources = sources
        self._options = options
        plain = EventTokeniser.load(model.tokenizer_file, ChatTemplate(None))
        chat = plain
        if options.chat:
            chat = EventTokeniser.load(
                model.tokenizer_file, ChatTemplate(model.chat_template(), model.special_tokens())
            )
        self._tokenisers = {True: plain, False: chat}
        self._prefixes = {kind: t.shared_prefixes()[:1] for kind, t in self._tokenisers.items()}

    def rows(self) -> Iterator[tuple[Split, PackedRow]]:
        """All rows of both splits, in the order of their documents."""
        wanted = self._options.tokens
        packers: dict[Split, Packer] = {
            "train": Packer(self._options.context),
            "held_out": Packer(self._options.context),
        }
        tokens = 0
        for number, (split, ids, kept, prefix) in enumerate(self._texts()):
            for row in packers[split].add(ids, kept, prefix, number):
                yield split, row
                tokens += int(row.kept.sum())
                if wanted is not None and tokens >= wanted:
                    break
            if wanted is not None and tokens >= wanted:
                break
        for split, packer in packers.items():
            for row in packer.rest():
                yield split, row

    def _texts(self) -> Iterator[tuple[Split, _Ids, NDArray[np.bool_], _Ids]]:
        """Split, ids, which of them count, and shared prefix of every document."""
        documents = mixed(self._sources, self._options.seed)
        while group := list(itertools.islice(documents, _GROUP)):
            yield from self._tokenised(group)

    def _tokenised(self, group: Sequence[Document]) -> Iterator[tuple[Split, _Ids, NDArray[np.bool_], _Ids]]:
        items: dict[int, Tokenised] = {}
        for plain, tokeniser in self._tokenisers.items():
            members = [n for n, document in enumerate(group) if document.plain == plain]
            items.update(zip(members, tokeniser.tokenise([group[n].event for n in members]), strict=True))
        for n, document in enumerate(group):
            item = items[n]
            kept = np.zeros(item.ids.size, np.bool_)
            for row in item.rows:
                kept[row] = True
            prefix = item.ids[:0]
            for candidate in self._prefixes[document.plain]:
                if (
                    np.array_equal(item.ids[: candidate.size], candidate)
                    and candidate.size < self._options.context // 4
                ):
                    prefix = candidate
            out = held_out(document.group, self._options.seed, self._options.held_out)
            yield "held_out" if out else "train", item.ids, kept, prefix
