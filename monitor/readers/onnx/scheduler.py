"""Scheduler: which chunks are read next, and which rows and cached blocks they hold meanwhile."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from monitor.readers.onnx.graph import NextTokens
from monitor.readers.onnx.kv_pool import KvPool, Rows
from monitor.readers.onnx.prefix_cache import BLOCK_TOKENS, CachedBlock, PrefixCache, block_keys
from monitor.readers.onnx.sparse import SparseActivations, slice_tokens


@dataclass(frozen=True)
class ReadRequest:
    """A chunk that waits. `keys` are those of its full blocks; empty if it does not use the prefix cache."""

    position: int
    tokens: NDArray[np.int32]
    past: Rows
    keys: list[bytes]


@dataclass
class ReadSequence:
    """One chunk on its way through the model."""

    position: int
    tokens: NDArray[np.int32]
    keys: list[bytes]
    rows: Rows
    """Rows of the past and of all tokens of the chunk; those of tokens not read yet are empty."""
    past: int
    """Tokens of the past."""
    done: int
    """Tokens of the chunk that are read."""
    cached: int
    """Full blocks that belong to the cache; the rows after them belong to this sequence."""
    activations: list[SparseActivations] = field(default_factory=list)

    @property
    def unread(self) -> int:
        """Tokens of the chunk that are not read yet."""
        return int(self.tokens.size) - self.done

    @property
    def own_rows(self) -> Rows:
        """The rows that belong to this sequence and not to its past or to the cache."""
        return self.rows[self.past + self.cached * BLOCK_TOKENS :]

    def next_tokens(self, count: int) -> NextTokens:
        """The next `count` tokens to read."""
        start = self.past + self.done
        tokens = self.tokens[self.done : self.done + count]
        return NextTokens(tokens, self.rows[:start], self.rows[start : start + count])


class Scheduler:
    """Starts and ends sequences. Rows are allocated from `pool`; full blocks come from `cache` and go there."""

    def __init__(self, pool: KvPool, cache: PrefixCache, *, batch_tokens: int, chunk_tokens: int) -> None:
        """A run reads about `batch_tokens` tokens, and at most `chunk_tokens` of one sequence."""
        self._pool = pool
        self._cache = cache
        self._batch_tokens = batch_tokens
        self._chunk_tokens = chunk_tokens
        self.pending: set[bytes] = set()
        """Keys of the blocks that sequences are reading now."""

    def next_count(self, sequence: ReadSequence) -> int:
        """How many tokens of a sequence the next run reads."""
        return min(sequence.unread, self._chunk_tokens)

    def request(self, position: int, tokens: NDArray[np.int32], past: Rows, caching: bool) -> ReadRequest:
        """A request to read `tokens` [token] after the tokens at the rows `past` [token]."""
        # the rows of a past are never freed, so the last of them identifies the past
        keys = block_keys(past[-1:].tobytes(), tokens) if caching else []
        return ReadRequest(position, tokens, past, keys)

    def admit(self, waiting: deque[ReadRequest], active: list[ReadSequence]) -> None:
        """Moves requests to `active` until the next batch is full or the pool has no room for more."""
        room = self._batch_tokens - sum(map(self.next_count, active))
        for _ in range(len(waiting)):
            if room <= 0:
                return
            request = waiting.popleft()
            blocks = self._cache.use(request.keys)
            known, unknown = request.keys[: len(blocks)], request.keys[len(blocks) :]
            if unknown and unknown[0] in self.pending:
                self._cache.release(known)
                waiting.append(request)  # an active sequence is reading the block that this one needs next
                continue
            if not self._cache.make_room(request.tokens.size - len(blocks) * BLOCK_TOKENS):
                self._cache.release(known)
                if not active:
                    raise RuntimeError(f"a chunk of {request.tokens.size} tokens does not fit into the pool")
                waiting.appendleft(request)
                return
            sequence = self.start(request, blocks)
            active.append(sequence)
            room -= self.next_count(sequence)

    def start(self, request: ReadRequest, blocks: Sequence[CachedBlock] = ()) -> ReadSequence:
        """The sequence of a request, after `blocks`, which the cache holds for it. The pool must have enough rows."""
        done = len(blocks) * BLOCK_TOKENS
        self.pending.update(request.keys[len(blocks) :])
        self._cache.hits += done
        own = self._pool.allocate(request.tokens.size - done)
        return ReadSequence(
            position=request.position,
            tokens=request.tokens,
            keys=request.keys,
            rows=np.concatenate([request.past, *(b.rows for b in blocks), own]),
            past=request.past.size,
            done=done,
            cached=len(blocks),
            activations=[b.activations for b in blocks],
        )

    def finish(self, sequence: ReadSequence, features: int) -> None:
        """Gives the sequence's full blocks to the cache and frees the other rows. `features` is the reader's width."""
        self.pending.difference_update(sequence.keys[sequence.cached :])
        own = sequence.own_rows
        held = sequence.keys[: sequence.cached]
        if len(sequence.keys) > sequence.cached:
            read = sequence.activations[sequence.cached :]
            for n, key in enumerate(sequence.keys[sequence.cached :]):
                activations = slice_tokens(read, n * BLOCK_TOKENS, (n + 1) * BLOCK_TOKENS, features)
                if not self._cache.keep(key, own[:BLOCK_TOKENS], activations):
                    break  # nobody could find the blocks after this one without it
                own = own[BLOCK_TOKENS:]
                held = [*held, key]
        self._pool.release(own)
        self._cache.release(held)
        sequence.rows, sequence.keys, sequence.cached = sequence.rows[: sequence.past], [], 0

    def abandon(self, active: Sequence[ReadSequence]) -> None:
        """Frees what unfinished sequences hold. Without this, later requests would wait forever for their blocks."""
        for sequence in active:
            self.pending.difference_update(sequence.keys[sequence.cached :])
            self._pool.release(sequence.own_rows)
            self._cache.release(sequence.keys[: sequence.cached])
