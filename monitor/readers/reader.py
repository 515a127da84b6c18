"""Reader: reads tokens after the tokens before them, and gives feature activations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Past(Protocol):
    """Keys and values that a reader keeps of tokens it has read; only that reader can look inside."""

    @property
    def length(self) -> int:
        """Number of tokens."""


@dataclass(frozen=True)
class Chunk:
    """Tokens [token] to read after `past`; None means that there is nothing before them."""

    tokens: NDArray[np.int32]
    past: Past | None = None


class Reader(Protocol):
    """Reads chunks. Activations do not depend on the other chunks of a call or on how it is batched."""

    @property
    def max_tokens(self) -> int | None:
        """The longest past plus chunk that the model was built for, or None."""

    @property
    def cached_tokens(self) -> int:
        """How many tokens a prefix cache has saved so far; 0 without one."""

    def read(self, chunks: Sequence[Chunk]) -> Sequence[NDArray[np.float32]]:
        """Activations [token, feature] of each chunk, in order; columns are the reader's features.

        Take each of them once: a reader may build an array only when you ask for it.
        """

    def prefill(self, tokens: NDArray[np.int32]) -> Past:
        """Reads `tokens` [token] without a past, and keeps their keys and values as the past of later chunks."""
