"""ActivationSource: an SAE's training data, from a store on disk or from a model that reads during training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from monitor.errors import ConfigError
from monitor.lab.sae_training.activation_store import ActivationStore
from monitor.lab.sae_training.packed_reader import PackedReader
from monitor.lab.sae_training.packing import PackedRow
from monitor.lab.sae_training.row_stream import RowStream, Split
from monitor.readers.cut_model import TorchPrecision


@dataclass(frozen=True)
class ActivationProvenance:
    """Where activations come from. Goes into the SAE's metadata; a run may only continue if it is the same."""

    model: str
    model_sha256: str
    layer: int
    precision: TorchPrecision
    max_norm: float | None
    text: dict[str, Any]
    """TextOptions as a dict."""
    sources: tuple[str, ...]
    """Name and hash of each source of text."""


class ActivationSource(Protocol):
    """Residual activations of two splits; calls with the same arguments give the same activations."""

    provenance: ActivationProvenance
    d_model: int

    def chunks(self, split: Split, epoch: int = 0) -> Iterator[Tensor]:
        """All activations of a split [token, d], in pieces of any size. `epoch` may change their order."""

    def rows(self, split: Split) -> Iterator[PackedRow]:
        """The packed rows of a split."""


class StoredActivations:
    """One layer of a store. `seed` and epoch decide the order of the shards."""

    def __init__(self, store: ActivationStore, layer: int, seed: int) -> None:
        """Raises ConfigError if the store lacks the layer or has no finished training shard."""
        recipe = store.manifest.recipe
        if layer not in recipe.layers:
            raise ConfigError(f"{store.folder}: no layer {layer}; it has {', '.join(map(str, recipe.layers))}")
        if not store.manifest.tokens("train"):
            raise ConfigError(f"{store.folder}: no finished training shard")
        self._store = store
        self._layer = layer
        self._seed = seed
        self.d_model = int(store.activations(store.manifest.of("train")[0], layer).shape[1])
        self.provenance = ActivationProvenance(
            recipe.model,
            recipe.model_sha256,
            layer,
            recipe.precision,
            recipe.max_norm,
            {name: getattr(recipe, name) for name in ("context", "chat", "tokens", "held_out", "seed")},
            tuple(f"{s.name} {s.sha256}" for s in recipe.sources),
        )

    def chunks(self, split: Split, epoch: int = 0) -> Iterator[Tensor]:
        shards = self._store.manifest.of(split)
        order = list(range(len(shards)))
        if split == "train":
            generator = torch.Generator().manual_seed(self._seed + epoch)
            order = torch.randperm(len(shards), generator=generator).tolist()
        for n in order:
            yield self._store.activations(shards[n], self._layer)

    def rows(self, split: Split) -> Iterator[PackedRow]:
        for shard in self._store.manifest.of(split):
            yield from self._store.rows(shard)


class StreamedActivations:
    """One layer, read by the model on demand. Nothing is stored, so every epoch is read again."""

    def __init__(self, stream: RowStream, reader: PackedReader, provenance: ActivationProvenance) -> None:
        self._stream = stream
        self._reader = reader
        self.provenance = provenance
        self.d_model = reader.d_model

    def chunks(self, split: Split, epoch: int = 0) -> Iterator[Tensor]:  # noqa: ARG002 - all epochs are the same
        batch: list[PackedRow] = []
        for row in self.rows(split):
            batch.append(row)
            if len(batch) == self._reader.batch_rows:
                yield self._read(batch)
                batch = []
        if batch:
            yield self._read(batch)

    def rows(self, split: Split) -> Iterator[PackedRow]:
        return (row for of, row in self._stream.rows() if of == split)

    def _read(self, rows: list[PackedRow]) -> Tensor:
        return self._reader.read(rows).by_layer[self.provenance.layer]
