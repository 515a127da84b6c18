"""PrefixCache: what was read of the beginnings of sequences, in blocks of tokens, least recently used first out."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.readers.onnx.kv_pool import KvPool, Rows
from monitor.readers.onnx.sparse import Compact

BLOCK_TOKENS = 32


def block_keys(root: bytes, tokens: NDArray[np.int32]) -> list[bytes]:
    """A key for each full block of `tokens` [token]; it stands for the block and for everything before it.

    `root` stands for what comes before the tokens.
    """
    keys: list[bytes] = []
    key = root
    data = np.ascontiguousarray(tokens, dtype=np.int32)
    for start in range(0, tokens.size - tokens.size % BLOCK_TOKENS, BLOCK_TOKENS):
        key = hashlib.blake2b(data[start : start + BLOCK_TOKENS].tobytes(), key=key, digest_size=16).digest()
        keys.append(key)
    return keys


@dataclass
class Block:
    """Tokens that were read: their rows in the pool and their activations. `users` are sequences in work."""

    rows: Rows
    activations: Compact
    users: int = 0


class PrefixCache:
    """Blocks by key. Rows of blocks that nobody uses can be taken back at any time."""

    def __init__(self, pool: KvPool, max_bytes: int, token_bytes: int) -> None:
        """All blocks take at most `max_bytes`: `token_bytes` of keys and values for each token, and activations."""
        self._pool = pool
        self._max_bytes = max_bytes
        self._token_bytes = token_bytes
        self._bytes = 0
        self._blocks: OrderedDict[bytes, Block] = OrderedDict()
        self.hits = 0
        """Tokens that did not have to be read."""

    def __len__(self) -> int:
        return len(self._blocks)

    def __contains__(self, key: bytes) -> bool:
        return key in self._blocks

    def use(self, keys: Sequence[bytes]) -> list[Block]:
        """The blocks of `keys` up to the first that is not here, held until `release`."""
        found = []
        for key in keys:
            block = self._blocks.get(key)
            if block is None:
                break
            block.users += 1
            found.append(block)
        return found

    def release(self, keys: Sequence[bytes]) -> None:
        """Ends the use of blocks, given in the order of their tokens; the first of them will be the last to go."""
        for key in reversed(keys):
            self._blocks[key].users -= 1
            self._blocks.move_to_end(key)

    def keep(self, key: bytes, rows: Rows, activations: Compact) -> bool:
        """Takes a block over, in use. False where it is known already or there is no room: the rows stay yours."""
        block = Block(rows, activations, users=1)
        if key in self._blocks or self._size(block) > self._max_bytes:
            return False
        while self._bytes + self._size(block) > self._max_bytes:
            if not self._drop_one():
                return False
        self._blocks[key] = block
        self._bytes += self._size(block)
        return True

    def make_room(self, rows: int) -> bool:
        """Drops blocks until the pool has that many free rows. False where it cannot be."""
        while self._pool.free < rows:
            if not self._drop_one():
                return False
        return True

    def clear(self) -> None:
        """Drops every block that nobody uses."""
        while self._drop_one():
            pass

    def _drop_one(self) -> bool:
        victim = next((key for key, block in self._blocks.items() if block.users == 0), None)
        if victim is None:
            return False
        block = self._blocks.pop(victim)
        self._bytes -= self._size(block)
        self._pool.give_back(block.rows)
        return True

    def _size(self, block: Block) -> int:
        return block.rows.size * self._token_bytes + block.activations.nbytes
