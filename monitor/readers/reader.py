"""Reader: the promise that turns tokens, read after what came before them, into feature activations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Past(Protocol):
    """What a reader remembers of tokens already read (keys and values); opaque to everyone else."""

    @property
    def length(self) -> int:
        """Number of tokens remembered."""


@dataclass(frozen=True)
class Chunk:
    """Tokens [token] to be read after `past`; None means that nothing came before."""

    tokens: NDArray[np.int32]
    past: Past | None = None


class Reader(Protocol):
    """Reads chunks. Activations do not depend on what else is in the call or on how it is batched inside."""

    @property
    def max_tokens(self) -> int | None:
        """The longest past plus chunk that the model was built for, or None."""

    @property
    def cached_tokens(self) -> int:
        """Tokens of chunks so far that were known from before; 0 without a prefix cache."""

    def read(self, chunks: Sequence[Chunk]) -> Sequence[NDArray[np.float32]]:
        """Activations [token, feature] of each chunk, in the order given; columns are the reader's features.

        Take them one after the other and once each: they may be made only when they are asked for.
        """

    def remember(self, tokens: NDArray[np.int32]) -> Past:
        """Reads `tokens` [token] from nothing and keeps them as a past for chunks to come."""
