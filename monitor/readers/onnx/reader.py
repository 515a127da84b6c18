"""OnnxReader: a compiled graph that reads chunks over a past, many sequences at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.errors import ConfigError
from monitor.machine import usable_cores
from monitor.readers.onnx import step
from monitor.readers.onnx.kv_pool import KvPool, Rows
from monitor.readers.onnx.prefix_cache import BLOCK_TOKENS, Block, PrefixCache, block_keys
from monitor.readers.onnx.runtime import onnxruntime
from monitor.readers.onnx.sparse import ACTIVATIONS, LATENTS, RESIDUAL, VALUES, Compact, Dense, cut, dense
from monitor.readers.onnx.step import Heads, Step
from monitor.readers.reader import Chunk, Past

# Tokens of one sequence that go through the model at once. Shorter chunks waste less attention on what the causal
# mask hides, longer ones have fewer runs; docs/performance.md
CHUNK_TOKENS = 128


@dataclass(frozen=True)
class GraphShape:
    """What the reader has to know of a compiled graph."""

    layers: int
    heads: Heads
    head_dim: int
    max_tokens: int
    """The longest past plus chunk."""
    width: int
    """Number of the SAE's latents and, behind them, probes."""
    latents: tuple[int, ...] | None
    """Latents (and probes) of the output columns, or None where the graph hands out their numbers (TopK)."""
    slots: int
    """Activations that the graph hands out for a token."""

    @property
    def token_bytes(self) -> int:
        """Bytes of the keys and values of one token."""
        return 2 * 4 * self.layers * self.heads.kv * self.head_dim


@dataclass(frozen=True)
class OnnxPast:
    """Tokens whose keys and values stay in the reader's pool."""

    tokens: NDArray[np.int32]
    rows: Rows
    pool: KvPool = field(repr=False, compare=False)

    @property
    def length(self) -> int:
        return int(self.tokens.size)


@dataclass(frozen=True)
class _Request:
    """A chunk that waits. `keys` are those of its full blocks; none where it takes no part in the prefix cache."""

    position: int
    tokens: NDArray[np.int32]
    past: Rows
    keys: list[bytes]


@dataclass
class _Sequence:
    """One chunk on its way through the model."""

    position: int
    tokens: NDArray[np.int32]
    keys: list[bytes]
    rows: Rows
    """Of the past and of all its tokens; those of tokens not read yet hold nothing."""
    past: int
    done: int
    """Tokens of the chunk that were read."""
    adopted: int
    """Full blocks that the cache holds; the rows of what follows them are this sequence's own."""
    activations: list[Compact] = field(default_factory=list)


class OnnxReader:
    """Runs a compiled graph with onnxruntime on the CPU. Not for several threads at once.

    Tokens are packed: no batch is padded. Sequences longer than a chunk are read chunk by chunk over their own past.
    With a prefix cache, what sequences have in common at their beginning is read once, within a call and from one
    call to the next.
    """

    def __init__(
        self,
        graph: Path,
        shape: GraphShape,
        embeddings: NDArray[np.float32],
        latents: Sequence[int],
        *,
        batch_tokens: int = 512,
        window_tokens: int = 2_048,
        cache_bytes: int = 0,
        threads: int = 0,
    ) -> None:
        """`embeddings` [vocabulary, d_model] as the graph takes them; `latents` are the SAE latents of the columns.

        Keys and values take at most `cache_bytes` plus those of two windows and two batches.
        Raises ConfigError where the graph does not load or lacks a latent.
        """
        self._session = _session(graph, threads or usable_cores())
        self._shape = shape
        self._embeddings = embeddings
        self._features = len(latents)
        self._columns = _columns(shape, latents)
        self._all_columns = np.array_equal(self._columns, np.arange(shape.slots))
        self._outputs = [VALUES, LATENTS] if shape.latents is None else [ACTIVATIONS]
        self._kv_outputs = [step.new(kind, n) for n in range(shape.layers) for kind in ("keys", "values")]
        # onnxruntime takes no more tokens in one run than the rotary tables have positions, and the last sequence
        # that is let in may go over by a chunk
        self._batch_tokens = min(batch_tokens, max(shape.max_tokens - CHUNK_TOKENS, 1))
        cached_tokens = cache_bytes // shape.token_bytes  # at most; their activations take some, too
        work = 2 * (min(window_tokens, shape.max_tokens) + batch_tokens)
        self._pool = KvPool(1 + work + cached_tokens, shape.layers, shape.heads.kv, shape.head_dim)
        self.cache = PrefixCache(self._pool, cache_bytes, shape.token_bytes)
        self._caching = cached_tokens >= BLOCK_TOKENS
        self._pending: set[bytes] = set()
        self._starts: list[OnnxPast] = []

    @property
    def max_tokens(self) -> int | None:
        return self._shape.max_tokens

    @property
    def cached_tokens(self) -> int:
        return self.cache.hits

    def read(self, chunks: Sequence[Chunk]) -> Dense:
        results: list[list[Compact]] = [[] for _ in chunks]
        # neighbours in length share a batch, so that attention is padded little
        order = sorted(range(len(chunks)), key=lambda n: chunks[n].tokens.size)
        waiting = deque(self._request(n, chunks[n]) for n in order)
        active: list[_Sequence] = []
        try:
            while waiting or active:
                self._admit(waiting, active)
                for sequence in self._advance(active):
                    results[sequence.position] = sequence.activations
                active = [s for s in active if s.done < s.tokens.size]
        except BaseException:
            self._abandon(active)
            raise
        return Dense(results, self._features)

    def remember(self, tokens: NDArray[np.int32]) -> OnnxPast:
        known = self._longest_start(tokens)
        if known is not None and known.length == tokens.size:
            return known
        sequence = self._alone(tokens, known)
        while sequence.done < sequence.tokens.size:
            for _ in self._advance([sequence], keep_rows=True):
                pass
        start = OnnxPast(tokens, sequence.rows, self._pool)
        self._starts.append(start)
        return start

    def preload(self, tokens: NDArray[np.int32], keys: NDArray[np.float32], values: NDArray[np.float32]) -> None:
        """Keys and values [layer, token, kv_heads * head_dim] of a beginning that was read elsewhere, in float32."""
        rows = self._pool.take(tokens.size)
        for layer in range(self._shape.layers):
            self._pool.write(rows, layer, keys[layer], values[layer])
        self._starts.append(OnnxPast(tokens, rows, self._pool))

    def keys_values(self, past: OnnxPast) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Keys and values [layer, token, kv_heads * head_dim] of a past, as `preload` takes them."""
        heads, layers = self._shape.heads.kv, range(self._shape.layers)
        picked = [
            np.stack([of(n).reshape(-1, heads * self._shape.head_dim)[past.rows] for n in layers])
            for of in (self._pool.keys, self._pool.values)
        ]
        return picked[0], picked[1]

    def residual(self, tokens: NDArray[np.int32]) -> NDArray[np.float32]:
        """The residual stream [token, d_model] behind the last block, as the graph has it (perhaps rotated).

        Of those `tokens` [token] that stand behind the longest start known.
        """
        return self._read_alone(tokens, [RESIDUAL])[0]

    def raw(self, tokens: NDArray[np.int32]) -> tuple[NDArray[np.float32], NDArray[np.int64] | None]:
        """What the graph hands out for the same tokens: activations [token, slot] and, for TopK, their latents."""
        outputs = self._read_alone(tokens, self._outputs)
        return outputs[0], outputs[1].astype(np.int64) if len(outputs) > 1 else None

    def columns_of(self, raw: Compact) -> NDArray[np.float32]:
        """Such outputs as activations [token, feature]; `raw.columns` are latents."""
        if raw.columns is None:
            return raw.values[:, self._columns]
        return dense([Compact(raw.values, self._columns[raw.columns])], self._features)

    def _read_alone(self, tokens: NDArray[np.int32], outputs: Sequence[str]) -> list[NDArray[np.float32]]:
        sequence = self._alone(tokens, self._longest_start(tokens[:-1]))
        found: list[list[NDArray[np.float32]]] = []
        while sequence.done < sequence.tokens.size:
            count = min(CHUNK_TOKENS, sequence.tokens.size - sequence.done)
            found.append(self._run([(sequence, count)], outputs))
            sequence.done += count
        self._pool.give_back(sequence.rows[sequence.past :])
        return [np.concatenate(parts) for parts in zip(*found, strict=True)]

    def _request(self, position: int, chunk: Chunk, caching: bool = True) -> _Request:
        past = self._rows(chunk.past)
        length = past.size + chunk.tokens.size
        if length > self._shape.max_tokens:
            raise ValueError(f"a past and chunk of {length} tokens; the graph reads {self._shape.max_tokens} at most")
        # the rows of a past are its own for good, so the last of them stands for the past
        keys = block_keys(past[-1:].tobytes(), chunk.tokens) if self._caching and caching else []
        return _Request(position, chunk.tokens, past, keys)

    def _alone(self, tokens: NDArray[np.int32], start: OnnxPast | None) -> _Sequence:
        """The rest of `tokens` behind `start`, apart from the cache."""
        return self._sequence(self._request(0, Chunk(tokens[start.length :] if start else tokens, start), False), [])

    def _rows(self, past: Past | None) -> Rows:
        if past is None:
            return np.zeros(0, np.int64)
        if not isinstance(past, OnnxPast) or past.pool is not self._pool:
            raise TypeError(f"a past of another reader: {type(past).__name__}")
        return past.rows

    def _longest_start(self, tokens: NDArray[np.int32]) -> OnnxPast | None:
        fitting = [s for s in self._starts if s.length <= tokens.size and np.array_equal(s.tokens, tokens[: s.length])]
        return max(fitting, key=lambda s: s.length, default=None)

    def _admit(self, waiting: deque[_Request], active: list[_Sequence]) -> None:
        """Starts sequences until the next batch is full or there is no room for more."""
        room = self._batch_tokens - sum(min(s.tokens.size - s.done, CHUNK_TOKENS) for s in active)
        for _ in range(len(waiting)):
            if room <= 0:
                return
            request = waiting.popleft()
            blocks = self.cache.use(request.keys)
            known, unknown = request.keys[: len(blocks)], request.keys[len(blocks) :]
            if unknown and unknown[0] in self._pending:
                self.cache.release(known)
                waiting.append(request)  # another sequence is just reading what this one needs
                continue
            if not self.cache.make_room(request.tokens.size - len(blocks) * BLOCK_TOKENS):
                self.cache.release(known)
                if not active:
                    raise RuntimeError(f"a chunk of {request.tokens.size} tokens does not fit into the pool")
                waiting.appendleft(request)
                return
            sequence = self._sequence(request, blocks)
            active.append(sequence)
            room -= min(sequence.tokens.size - sequence.done, CHUNK_TOKENS)

    def _sequence(self, request: _Request, blocks: Sequence[Block]) -> _Sequence:
        """Begins behind `blocks`, which are held for it. There are rows for the rest."""
        done = len(blocks) * BLOCK_TOKENS
        self._pending.update(request.keys[len(blocks) :])
        self.cache.hits += done
        own = self._pool.take(request.tokens.size - done)
        return _Sequence(
            position=request.position,
            tokens=request.tokens,
            keys=request.keys,
            rows=np.concatenate([request.past, *(b.rows for b in blocks), own]),
            past=request.past.size,
            done=done,
            adopted=len(blocks),
            activations=[b.activations for b in blocks],
        )

    def _advance(self, active: Sequence[_Sequence], keep_rows: bool = False) -> Iterator[_Sequence]:
        """Reads the next chunk of each sequence; yields those that are finished."""
        parts = [(s, min(CHUNK_TOKENS, s.tokens.size - s.done)) for s in active]
        reading = [(s, count) for s, count in parts if count]
        if reading:
            outputs = self._run(reading, self._outputs)
            at = 0
            for sequence, count in reading:
                sequence.activations.append(self._compact(outputs, at, at + count))
                sequence.done += count
                at += count
        for sequence, _ in parts:
            if sequence.done == sequence.tokens.size:
                if not keep_rows:
                    self._finish(sequence)
                yield sequence

    def _run(self, reading: Sequence[tuple[_Sequence, int]], outputs: Sequence[str]) -> list[NDArray[np.float32]]:
        """Runs the graph over `count` tokens of each sequence, and stores their keys and values."""
        pasts = [s.rows[: s.past + s.done] for s, _ in reading]
        fresh = np.concatenate([s.rows[s.past + s.done : s.past + s.done + count] for s, count in reading])
        tokens = np.concatenate([s.tokens[s.done : s.done + count] for s, count in reading])
        feed: dict[str, NDArray[np.float32] | NDArray[np.int64]] = {step.EMBEDDINGS: self._embeddings[tokens]}
        feed |= Step([count for _, count in reading], pasts).inputs(self._shape.heads)
        for layer in range(self._shape.layers):
            feed[step.past("keys", layer)] = self._pool.keys(layer)
            feed[step.past("values", layer)] = self._pool.values(layer)
        results = self._session.run([*outputs, *self._kv_outputs], feed)
        kv = results[len(outputs) :]
        for layer in range(self._shape.layers):
            self._pool.write(fresh, layer, kv[2 * layer], kv[2 * layer + 1])
        return list(results[: len(outputs)])

    def _compact(self, outputs: Sequence[NDArray[np.float32]], start: int, end: int) -> Compact:
        if self._shape.latents is not None:
            rows = outputs[0][start:end]
            return Compact(rows if self._all_columns else rows[:, self._columns]).kept(self._features)
        return Compact(outputs[0][start:end].copy(), self._columns[outputs[1][start:end]])

    def _finish(self, sequence: _Sequence) -> None:
        """Leaves the sequence's full blocks to the cache and frees the rest."""
        self._pending.difference_update(sequence.keys[sequence.adopted :])
        own = sequence.rows[sequence.past + sequence.adopted * BLOCK_TOKENS :]
        held = sequence.keys[: sequence.adopted]
        if len(sequence.keys) > sequence.adopted:
            read = sequence.activations[sequence.adopted :]
            for n, key in enumerate(sequence.keys[sequence.adopted :]):
                activations = cut(read, n * BLOCK_TOKENS, (n + 1) * BLOCK_TOKENS, self._features)
                if not self.cache.keep(key, own[:BLOCK_TOKENS], activations):
                    break  # without this block, those behind it could not be found
                own = own[BLOCK_TOKENS:]
                held = [*held, key]
        self._pool.give_back(own)
        self.cache.release(held)
        sequence.rows, sequence.keys, sequence.adopted = sequence.rows[: sequence.past], [], 0

    def _abandon(self, active: Sequence[_Sequence]) -> None:
        """Frees what sequences hold that will not be read to their end. Others would wait for their blocks for good."""
        for sequence in active:
            self._pending.difference_update(sequence.keys[sequence.adopted :])
            self._pool.give_back(sequence.rows[sequence.past + sequence.adopted * BLOCK_TOKENS :])
            self.cache.release(sequence.keys[: sequence.adopted])


def _columns(shape: GraphShape, latents: Sequence[int]) -> NDArray[np.int32]:
    """The graph's column of every wanted latent; for TopK, the wanted column of every latent of the SAE."""
    if shape.latents is None:
        columns = np.full(shape.width, len(latents), dtype=np.int32)
        columns[list(latents)] = np.arange(len(latents))
        return columns
    at = {latent: n for n, latent in enumerate(shape.latents)}
    missing = [latent for latent in latents if latent not in at]
    if missing:
        raise ConfigError(f"the compiled graph has no latent {missing[0]}; compile it again for these feature sets")
    return np.array([at[latent] for latent in latents], dtype=np.int32)


def _session(graph: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_mem_pattern = False  # every run has sizes of its own; one plan of memory for each would pile up
    try:
        return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    except Exception as e:  # noqa: BLE001 - onnxruntime's errors have no common base but Exception
        raise ConfigError(f"{graph}: not loaded: {str(e).splitlines()[0]}") from None
