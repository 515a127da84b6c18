"""OnnxReader: a compiled graph that reads chunks over a past, many sequences at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.machine import usable_cores
from monitor.readers.onnx.columns import Columns
from monitor.readers.onnx.embeddings import Embeddings
from monitor.readers.onnx.graph import GraphRunner, GraphShape
from monitor.readers.onnx.kv_pool import KvPool, Rows
from monitor.readers.onnx.prefix_cache import BLOCK_TOKENS, PrefixCache
from monitor.readers.onnx.scheduler import ReadSequence, Scheduler
from monitor.readers.onnx.sparse import RESIDUAL, DenseTexts, SparseActivations
from monitor.readers.reader import Chunk, Past

# Tokens of one sequence that one run reads. With fewer, attention wastes less on what the causal mask hides; with
# more, there are fewer runs; docs/performance.md
CHUNK_TOKENS = 128


@dataclass(frozen=True)
class OnnxPast:
    """Tokens whose keys and values stay in the reader's pool."""

    tokens: NDArray[np.int32]
    rows: Rows
    pool: KvPool = field(repr=False, compare=False)

    @property
    def length(self) -> int:
        return int(self.tokens.size)


class OnnxReader:
    """Runs a compiled graph with onnxruntime on the CPU. Not thread-safe.

    Tokens are packed: no batch is padded. A sequence longer than a chunk is read chunk by chunk, each over the ones
    before it. With a prefix cache, a prefix that sequences share is read once, within a call and across calls.
    """

    def __init__(
        self,
        graph: Path,
        shape: GraphShape,
        embeddings: Embeddings | NDArray[np.float32],
        columns: Columns,
        *,
        batch_tokens: int = 512,
        window_tokens: int = 2_048,
        cache_bytes: int = 0,
        threads: int = 0,
        chunk_tokens: int = CHUNK_TOKENS,
        packed: bool = True,
        lease: object = None,
    ) -> None:
        """`embeddings` [vocabulary, d_model] are what the graph takes.

        Keys and values take at most `cache_bytes`, plus what two windows and two batches need. See GraphRunner for
        `packed`. `lease` is kept as long as the reader exists.
        Raises ConfigError if the graph does not load.
        """
        self._shape = shape
        cached_tokens = cache_bytes // shape.token_bytes  # an upper limit: activations need some of the bytes, too
        work = 2 * (min(window_tokens, shape.max_tokens) + batch_tokens)
        self._pool = KvPool(1 + work + cached_tokens, shape.layers, shape.heads.kv, shape.head_dim)
        threads = threads or usable_cores()
        self._graph = GraphRunner(graph, shape, embeddings, self._pool, threads, packed)
        self._columns = columns
        self.cache = PrefixCache(self._pool, cache_bytes, shape.token_bytes)
        self._caching = cached_tokens >= BLOCK_TOKENS
        # onnxruntime takes no more tokens in one run than the rotary tables have positions, and the last sequence
        # that is admitted may exceed the limit by a chunk
        batch_tokens = min(batch_tokens, max(shape.max_tokens - chunk_tokens, 1))
        self._scheduler = Scheduler(self._pool, self.cache, batch_tokens=batch_tokens, chunk_tokens=chunk_tokens)
        self._prefixes: list[OnnxPast] = []
        self._lease = lease

    @property
    def max_tokens(self) -> int | None:
        return self._shape.max_tokens

    @property
    def cached_tokens(self) -> int:
        return self.cache.hits

    @property
    def columns(self) -> Columns:
        """What the activations are columns of."""
        return self._columns

    def use_columns(self, columns: Columns) -> None:
        """Reads with other columns from now on. Call it between two calls of `read`."""
        self._columns = columns
        self.cache.clear()  # its activations are of the old columns

    def read(self, chunks: Sequence[Chunk]) -> DenseTexts:
        return self._read(chunks, self._caching)

    def _read(self, chunks: Sequence[Chunk], caching: bool) -> DenseTexts:
        results: list[list[SparseActivations]] = [[] for _ in chunks]
        # chunks of similar length share a batch, so that attention has little padding
        order = sorted(range(len(chunks)), key=lambda n: chunks[n].tokens.size)
        waiting = deque(self._scheduler.request(n, *self._checked(chunks[n]), caching) for n in order)
        active: list[ReadSequence] = []
        try:
            while waiting or active:
                self._scheduler.admit(waiting, active)
                self._advance(active)
                for sequence in active:
                    if not sequence.unread:
                        self._scheduler.finish(sequence, self._columns.features)
                        results[sequence.position] = sequence.activations
                active = [s for s in active if s.unread]
        except BaseException:
            self._scheduler.abandon(active)
            raise
        return DenseTexts(results, self._columns.features)

    def prefill(self, tokens: NDArray[np.int32]) -> OnnxPast:
        known = self._longest_prefix(tokens)
        if known is not None and known.length == tokens.size:
            return known
        sequence = self._uncached(tokens, known)
        self._read_whole(sequence, [])
        past = OnnxPast(tokens, sequence.rows, self._pool)
        self._prefixes.append(past)
        return past

    def preload(self, tokens: NDArray[np.int32], keys: NDArray[np.float32], values: NDArray[np.float32]) -> None:
        """Stores a prefix that was read elsewhere: its keys and values [layer, token, kv_heads * head_dim]."""
        rows = self._pool.allocate(tokens.size)
        for layer in range(self._shape.layers):
            self._pool.write(rows, layer, keys[layer], values[layer])
        self._prefixes.append(OnnxPast(tokens, rows, self._pool))

    def keys_values(self, past: OnnxPast) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Keys and values [layer, token, kv_heads * head_dim] of a past, as `preload` takes them."""
        heads, layers = self._shape.heads.kv, range(self._shape.layers)
        picked = [
            np.stack([of(n).reshape(-1, heads * self._shape.head_dim)[past.rows] for n in layers])
            for of in (self._pool.keys, self._pool.values)
        ]
        return picked[0], picked[1]

    def residual(self, tokens: NDArray[np.int32]) -> NDArray[np.float32]:
        """The residual stream [token, d_model] after the last block, as the graph has it (it may be rotated).

        Skips the tokens of the longest prefix that the reader knows, and does not use the prefix cache.
        """
        sequence = self._uncached(tokens, self._longest_prefix(tokens[:-1]))
        (found,) = self._read_whole(sequence, [RESIDUAL])
        self._pool.release(sequence.own_rows)
        return found

    def read_uncached(self, texts: Sequence[NDArray[np.int32]]) -> DenseTexts:
        """Activations [token, feature] of each text; skips the same tokens as `residual`, and no cache is used."""
        return self._read([self._after_prefix(tokens) for tokens in texts], caching=False)

    def _after_prefix(self, tokens: NDArray[np.int32]) -> Chunk:
        prefix = self._longest_prefix(tokens[:-1])
        return Chunk(tokens[prefix.length :] if prefix else tokens, prefix)

    def _uncached(self, tokens: NDArray[np.int32], prefix: OnnxPast | None) -> ReadSequence:
        """The tokens after `prefix`, as a sequence that does not use the cache."""
        chunk = Chunk(tokens[prefix.length :] if prefix else tokens, prefix)
        return self._scheduler.start(self._scheduler.request(0, *self._checked(chunk), caching=False))

    def _checked(self, chunk: Chunk) -> tuple[NDArray[np.int32], Rows]:
        past = self._rows(chunk.past)
        length = past.size + chunk.tokens.size
        if length > self._shape.max_tokens:
            raise ValueError(f"a past and chunk of {length} tokens; the graph reads {self._shape.max_tokens} at most")
        return chunk.tokens, past

    def _rows(self, past: Past | None) -> Rows:
        if past is None:
            return np.zeros(0, np.int64)
        if not isinstance(past, OnnxPast) or past.pool is not self._pool:
            raise TypeError(f"a past of another reader: {type(past).__name__}")
        return past.rows

    def _longest_prefix(self, tokens: NDArray[np.int32]) -> OnnxPast | None:
        fitting = [
            p for p in self._prefixes if p.length <= tokens.size and np.array_equal(p.tokens, tokens[: p.length])
        ]
        return max(fitting, key=lambda p: p.length, default=None)

    def _advance(self, active: Sequence[ReadSequence]) -> None:
        """Reads the next chunk of each sequence."""
        reading = [s for s in active if s.unread]
        if not reading:
            return
        before = [s.done for s in reading]
        outputs = self._run(reading, self._columns.outputs)
        at = 0
        for sequence, done in zip(reading, before, strict=True):
            end = at + sequence.done - done
            sequence.activations.append(self._columns.activations(outputs, at, end))
            at = end

    def _read_whole(self, sequence: ReadSequence, outputs: Sequence[str]) -> list[NDArray[np.float32]]:
        found = []
        while sequence.unread:
            found.append(self._run([sequence], outputs))
        return [np.concatenate(parts) for parts in zip(*found, strict=True)]

    def _run(self, reading: Sequence[ReadSequence], outputs: Sequence[str]) -> list[NDArray[np.float32]]:
        """Runs the graph over the next chunk of each sequence."""
        counts = [self._scheduler.next_count(s) for s in reading]
        parts = [s.next_tokens(n) for s, n in zip(reading, counts, strict=True)]
        found = self._graph.run(parts, self._columns.inputs, outputs)
        for sequence, count in zip(reading, counts, strict=True):
            sequence.done += count
        return found
