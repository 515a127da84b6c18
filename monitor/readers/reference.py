"""ReferenceActivations: activations of a few texts that were stored once, and how far a reader is from them now."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import save_file

from monitor.errors import ConfigError
from monitor.readers.reader import Chunk, Reader
from monitor.readers.tensor_file import load_tensors

# Activations [token, feature] of each text. A reader that has read the beginning of a text before may leave that out
ReadTexts = Callable[[Sequence[NDArray[np.int32]]], Iterable[NDArray[np.float32]]]


def read_texts(reader: Reader) -> ReadTexts:
    """Reads whole texts, whatever the reader."""
    return lambda texts: reader.read([Chunk(text) for text in texts])


def columns_of(read: ReadTexts, start: int, end: int | None = None) -> ReadTexts:
    """The same with only the columns from `start` to `end`."""
    return lambda texts: (found[:, start:end] for found in read(texts))


@dataclass(frozen=True)
class ReferenceActivations:
    """`tokens` [token] of all texts, one after the other; `lengths` [text]; and the activations that are not 0.

    `counts` [token] is the number of active latents of a token, `latents` and `values` [active] say which and how
    strong. Projections on probes are stored in the same way, with numbers from the width of the SAE on.
    """

    tokens: NDArray[np.int32]
    lengths: NDArray[np.int64]
    counts: NDArray[np.int32]
    latents: NDArray[np.int32]
    values: NDArray[np.float32]

    @classmethod
    def read(cls, latents: Sequence[int], texts: Sequence[NDArray[np.int32]], read: ReadTexts) -> ReferenceActivations:
        """What `read`, which has the columns `latents`, finds in `texts` now."""
        numbers = np.array(latents, dtype=np.int32)
        counts, active, values = [], [], []
        for text, found in zip(texts, read(texts), strict=True):
            rows, columns = np.nonzero(found)
            counts.append(np.zeros(text.size - found.shape[0], np.int64))  # the tokens that `read` left out
            counts.append(np.bincount(rows, minlength=found.shape[0]))
            active.append(numbers[columns])
            values.append(found[rows, columns])
        return cls(
            np.concatenate(texts),
            np.array([text.size for text in texts], dtype=np.int64),
            np.concatenate(counts).astype(np.int32),
            np.concatenate(active),
            np.concatenate(values).astype(np.float32),
        )

    @classmethod
    def load(cls, path: Path) -> ReferenceActivations:
        """From safetensors. Raises ConfigError if the file holds something else."""
        tensors = load_tensors(path)
        try:
            found = cls(**{name: tensors[name] for name in cls.__dataclass_fields__})
        except KeyError as e:
            raise ConfigError(f"{path}: not reference activations: no tensor {e}") from None
        if not found._fits():
            raise ConfigError(f"{path}: not reference activations: its tensors do not fit together")
        return found

    def save(self, path: Path, metadata: Mapping[str, str] | None = None) -> None:
        """Writes safetensors. Raises ConfigError if that fails."""
        tensors: dict[str, NDArray[Any]] = {name: getattr(self, name) for name in self.__dataclass_fields__}
        try:
            save_file(tensors, path, None if metadata is None else dict(metadata))
            path.chmod(0o644)  # safetensors makes the file private, and a sidecar runs as another user
        except (OSError, SafetensorError) as e:
            raise ConfigError(f"{path}: cannot be written: {e}") from None

    @property
    def texts(self) -> list[NDArray[np.int32]]:
        """The tokens [token] of each text."""
        return self._by_text(self.tokens)

    def difference(self, latents: Sequence[int], read: ReadTexts, flips: float = 0.0) -> float:
        """How far `read`, whose first columns are `latents`, is from these activations, as a share of their norm.

        A latent flips if it is active in only one of the two, because it lies within rounding of its threshold. It then
        differs by the whole threshold. Flips are not counted if they are at most `flips` of the active latents.
        """
        column = np.full(max((*latents, int(self.latents.max(initial=0)))) + 1, -1)
        column[list(latents)] = np.arange(len(latents))
        ends, first_of_token = np.cumsum(self.lengths), np.concatenate([[0], np.cumsum(self.counts)])
        norm, error, flip_error = 0.0, 0.0, 0.0  # squared
        active = flipped = 0
        for end, found in zip(ends, read(self.texts), strict=True):  # one text fits into the processor's cache
            now = found[:, : len(latents)]
            start = end - now.shape[0]
            stored = slice(first_of_token[start], first_of_token[end])
            rows, columns = np.repeat(np.arange(now.shape[0]), self.counts[start:end]), column[self.latents[stored]]
            known = columns >= 0
            expected = np.zeros(now.shape, np.float32)
            expected[rows[known], columns[known]] = self.values[stored][known]
            flips_here = (expected != 0) != (now != 0)
            errors = now - expected
            norm += float(np.vdot(expected, expected))
            error += float(np.vdot(errors, errors))
            flip_error += float(np.sum(errors[flips_here] ** 2))
            active += int(np.count_nonzero(expected))
            flipped += int(np.count_nonzero(flips_here))
        if flipped <= flips * active:
            error -= flip_error
        difference = math.sqrt(max(error, 0.0))
        return difference / math.sqrt(norm) if norm > 0 else difference

    def _by_text(self, values: NDArray[Any]) -> list[NDArray[Any]]:
        return np.split(values, np.cumsum(self.lengths)[:-1])

    def _fits(self) -> bool:
        numbers: list[NDArray[Any]] = [self.tokens, self.lengths, self.counts, self.latents]
        if any(a.ndim != 1 or a.dtype.kind != "i" for a in numbers) or self.values.ndim != 1:
            return False
        sizes = self.tokens.size == self.counts.size == self.lengths.sum()
        active = self.latents.size == self.values.size == self.counts.sum()
        positive = self.lengths.size > 0 and self.lengths.min() > 0 and self.counts.min(initial=0) >= 0
        return bool(sizes and active and positive and self.latents.min(initial=0) >= 0)
