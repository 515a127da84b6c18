"""Shuffled batches of activations from a bounded buffer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from monitor.errors import ConfigError
from monitor.lab.sae_training.activation_source import ActivationSource


def shuffled_batches(chunks: Iterable[Tensor], batch: int, buffer: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Batches [batch, d] of the tokens of `chunks` [token, d]. Tokens at the end that don't fill a batch are dropped.

    Once the buffer holds `buffer` tokens, they are shuffled and half of them are yielded; the other half mixes with
    the tokens that come next. Needs `buffer` >= 2 * `batch`. sae-lens has the same scheme (`mixing_buffer`), but it
    draws on torch's global random state, so a stopped run could not continue exactly.
    """
    held: list[Tensor] = []
    size = 0
    for chunk in chunks:
        held.append(chunk)
        size += chunk.shape[0]
        if size >= buffer:
            pool = torch.cat(held)
            pool = pool[torch.randperm(size, generator=generator)]
            out = (size - buffer // 2) // batch * batch
            yield from torch.split(pool[:out], batch)
            held = [pool[out:].clone()]  # a view would hold the whole pool in memory
            size -= out
    if size >= batch:
        pool = torch.cat(held)[torch.randperm(size, generator=generator)]
        yield from torch.split(pool[: size // batch * batch], batch)


def endless_batches(source: ActivationSource, batch: int, buffer: int, seed: int, skip: int = 0) -> Iterator[Tensor]:
    """Float32 training batches [batch, d], epoch after epoch, after skipping `skip` batches.

    Raises ConfigError if the buffer is too small, or if a whole epoch does not fill one batch.
    """
    if buffer < 2 * batch:
        raise ConfigError(f"buffer: {buffer}: it must be at least twice batch, {2 * batch}")
    epoch = number = 0
    while True:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
        before = number
        for tokens in shuffled_batches(source.chunks("train", epoch), batch, buffer, generator):
            number += 1
            if number > skip:
                yield tokens.float()
        if number == before:
            raise ConfigError(f"batch: {batch}: the training split has fewer tokens than one batch")
        epoch += 1
