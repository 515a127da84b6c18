"""Similar alerts: those of one set with the same strongest features and nearly equal texts."""

from __future__ import annotations

import hashlib
import json
import re
from itertools import pairwise

import numpy as np

from monitor.alerts.alert import Alert

_TOP_FEATURES = 3
_MAX_CHARS = 4_000
MAX_DISTANCE = 8
"""Of 64 bits. Texts that have nothing in common differ in about 32."""

_WORD = re.compile(r"\w+")
_DIGITS = re.compile(r"\d+")


def likeness(alert: Alert) -> str:
    """A hash of the set and its strongest features, in any order."""
    strongest = sorted(feature.index for feature in alert.features[:_TOP_FEATURES])
    return hashlib.sha256(json.dumps([alert.set.id, strongest]).encode()).hexdigest()


def simhash(text: str) -> str:
    """64 bits in hexadecimal that differ little between texts that share most of their words; numbers count as equal.

    Source: Charikar 2002, Similarity Estimation Techniques from Rounding Algorithms.
    """
    words = _WORD.findall(_DIGITS.sub("0", text[:_MAX_CHARS].lower()))
    pieces = {*words, *(f"{a} {b}" for a, b in pairwise(words))} or {text[:_MAX_CHARS].strip()}
    hashes = b"".join(hashlib.blake2b(piece.encode(errors="replace"), digest_size=8).digest() for piece in pieces)
    bits = np.unpackbits(np.frombuffer(hashes, dtype=np.uint8).reshape(-1, 8), axis=1)  # [piece, bit]
    return np.packbits(bits.sum(axis=0) * 2 > len(bits)).tobytes().hex()


def alike(one: str | None, other: str | None) -> bool:
    """Whether two simhashes belong to nearly equal texts; alerts without a text are alike."""
    if one is None or other is None:
        return one is other
    return (int(one, 16) ^ int(other, 16)).bit_count() <= MAX_DISTANCE
