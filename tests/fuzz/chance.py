"""ByteChance: random choices that are read from bytes, so that a fuzzer which mutates bytes mutates records."""

from __future__ import annotations

from random import Random


class ByteChance(Random):
    """A Random whose every choice takes the next bytes; zero when they run out."""

    _data: bytes
    _at: int

    def __new__(cls, data: bytes) -> ByteChance:
        made = super().__new__(cls, 0)
        made._data, made._at = data, 0
        return made

    def __init__(self, data: bytes) -> None:
        """Nothing to seed."""

    def random(self) -> float:
        return self.getrandbits(16) / 65_536

    def getrandbits(self, k: int, /) -> int:
        size = (k + 7) // 8
        taken = self._data[self._at : self._at + size]
        self._at += size
        return int.from_bytes(taken, "big") & ((1 << k) - 1)
