"""Collects residual activations of texts in an ActivationStore, and continues a stopped run."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from monitor.lab.sae_training.activation_store import ActivationStore, SourceHash, StoreRecipe
from monitor.lab.sae_training.packed_reader import PackedReader, Residuals
from monitor.lab.sae_training.packing import PackedRow
from monitor.lab.sae_training.row_stream import RowStream, Split, TextOptions
from monitor.lab.sae_training.text_sources import open_sources
from monitor.model.files import locate
from monitor.readers.cut_model import TorchPrecision


@dataclass(frozen=True, kw_only=True)
class CollectRequest:
    """What to read, with which model, and where to store it."""

    sources: tuple[str, ...]
    model: str
    layers: tuple[int, ...]
    out: Path
    text: TextOptions
    precision: TorchPrecision = "bfloat16"
    max_norm: float | None = None
    shard_tokens: int = 65_536
    batch_rows: int = 16
    device: str = "cpu"
    threads: int = 0


@dataclass(frozen=True)
class CollectProgress:
    """How far a run is. All numbers except `before` are of this run only."""

    read: int
    """Tokens that went through the model, including those that are not stored."""
    stored: int
    before: int
    """Tokens that were already stored when the run began."""
    seconds: float


def collect(
    request: CollectRequest, on_progress: Callable[[CollectProgress], None] = lambda _: None
) -> ActivationStore:
    """Reads everything whose shard is not finished yet, and returns the complete store.

    Shards have a fixed number of rows, and rows depend only on the texts, so a continued run makes the same shards as
    one that was never stopped. Raises ConfigError if a source, model, layer or folder can't be used, and Permanent as
    ActivationStore.add does.
    """
    sources = open_sources(request.sources)
    model = locate(request.model, None, None)
    stream = RowStream(sources, model, request.text)
    reader = PackedReader(
        model.folder,
        request.layers,
        precision=request.precision,
        device=request.device,
        batch_rows=request.batch_rows,
        max_norm=request.max_norm,
        threads=request.threads,
    )
    reader.check_context(request.text.context)
    store = ActivationStore.create_or_resume(
        request.out,
        StoreRecipe(
            model=request.model,
            model_sha256=model.sha256,
            layers=request.layers,
            precision=request.precision,
            context=request.text.context,
            chat=request.text.chat,
            max_norm=request.max_norm,
            seed=request.text.seed,
            held_out=request.text.held_out,
            tokens=request.text.tokens,
            rows_per_shard=max(1, request.shard_tokens // request.text.context),
            sources=tuple(SourceHash(name=s.name, sha256=s.sha256) for s in sources),
        ),
    )
    if not store.manifest.complete:
        _fill(store, stream, reader, on_progress)
        store.finish({s.name: s.unreadable.rows for s in sources if s.unreadable.rows})
    return store


def _fill(
    store: ActivationStore,
    stream: RowStream,
    reader: PackedReader,
    on_progress: Callable[[CollectProgress], None],
) -> None:
    size = store.manifest.recipe.rows_per_shard
    pending: dict[Split, list[PackedRow]] = {"train": [], "held_out": []}
    done: dict[Split, int] = {"train": 0, "held_out": 0}
    before = sum(shard.tokens for shard in store.manifest.shards)
    read = stored = 0
    began = time.monotonic()

    def shard(split: Split) -> None:
        nonlocal read, stored
        rows, pending[split] = pending[split], []
        index, done[split] = done[split], done[split] + 1
        if store.has(split, index):
            return
        parts: list[Residuals] = []
        for n in range(0, len(rows), reader.batch_rows):
            parts.append(reader.read(rows[n : n + reader.batch_rows]))
            read += sum(row.ids.size for row in rows[n : n + reader.batch_rows])
            stored += int(parts[-1].kept.sum())
            on_progress(CollectProgress(read, stored, before, max(time.monotonic() - began, 1e-9)))
        store.add(split, index, rows, Residuals.joined(parts))

    for split, row in stream.rows():
        pending[split].append(row)
        if len(pending[split]) == size:
            shard(split)
    for split in pending:
        if pending[split]:
            shard(split)
