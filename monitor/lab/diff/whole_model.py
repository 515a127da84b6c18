"""WholeModel: a causal language model with its head, its tokeniser, and the token that ends a turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from monitor.assembly.tokeniser import build_tokeniser
from monitor.config.sections import Config
from monitor.lab.reading.causal_model import load_causal_model
from monitor.model.files import ModelFiles, locate
from monitor.readers.transformers_log import quiet_transformers
from monitor.tokens.tokeniser import EventTokeniser

_AT_ONCE = 32  # prompts


@dataclass(frozen=True)
class WholeModel:
    """`network` is a transformers model in float32."""

    files: ModelFiles
    network: Any
    tokeniser: EventTokeniser
    ends: tuple[int, ...]
    """The tokens that end a turn; empty if config.json and generation_config.json name none."""

    @classmethod
    def load(cls, name: str, config: Config, base: ModelFiles | None = None) -> WholeModel:
        """`name` as in reader.model, with the tokeniser of `base` or, without one, its own. Raises ConfigError.

        Device and threads are those of the config.
        """
        settings = config.reader
        files = locate(name, settings.revision, settings.cache_dir)
        network = load_causal_model(files.folder, device=settings.device, threads=settings.threads)
        network.requires_grad_(True)  # it may be tuned
        tokeniser = build_tokeniser(config, base or files)
        tokeniser.limit(int(network.get_input_embeddings().weight.shape[0]))
        return cls(files, network, tokeniser, _ends(network))

    @torch.inference_mode()
    def continuations(self, prompts: Sequence[NDArray[np.int32]], tokens: int, seed: int) -> list[NDArray[np.int32]]:
        """For each prompt [token] up to `tokens` new tokens [token], drawn at temperature 1 with `seed`.

        The token that ends a turn is not among them.
        """
        torch.manual_seed(seed)
        self.network.eval()
        pad = self.ends[0] if self.ends else 0
        found: list[NDArray[np.int32]] = [np.empty(0, np.int32)] * len(prompts)
        order = iter(sorted(range(len(prompts)), key=lambda n: prompts[n].size))
        while batch := list(islice(order, _AT_ONCE)):
            width = max(prompts[n].size for n in batch)
            ids = torch.full((len(batch), width), pad)
            mask = torch.zeros((len(batch), width), dtype=torch.long)
            for row, n in enumerate(batch):  # padding comes first, so that all rows end together
                ids[row, width - prompts[n].size :] = torch.from_numpy(prompts[n].astype(np.int64))
                mask[row, width - prompts[n].size :] = 1
            said = self.network.generate(
                ids.to(self.network.device),
                attention_mask=mask.to(self.network.device),
                max_new_tokens=tokens,
                do_sample=True,
                temperature=1.0,
                top_k=0,
                top_p=1.0,
                pad_token_id=pad,
                eos_token_id=list(self.ends) or None,
            )[:, width:].cpu()
            for n, row_ids in zip(batch, said, strict=True):
                found[n] = _until(row_ids.numpy().astype(np.int32), self.ends)
        return found

    def save(self, folder: Path) -> None:
        """Writes weights, config and tokeniser to `folder`, in transformers layout."""
        with quiet_transformers():
            self.network.save_pretrained(folder)
        self.files.write_texts(folder)


def _ends(network: Any) -> tuple[int, ...]:
    for holder in (network.generation_config, network.config.get_text_config()):
        ends = getattr(holder, "eos_token_id", None)
        if ends is not None:
            return tuple(ends) if isinstance(ends, list | tuple) else (int(ends),)
    return ()


def _until(ids: NDArray[np.int32], ends: Sequence[int]) -> NDArray[np.int32]:
    stop = np.flatnonzero(np.isin(ids, ends))
    return ids[: int(stop[0])] if stop.size else ids
