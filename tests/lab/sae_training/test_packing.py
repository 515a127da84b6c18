"""Packed rows: nothing lost, nothing padded, nothing counted that should not be."""

from __future__ import annotations

import numpy as np

from monitor.lab.sae_training.packing import PackedRow, Packer


def pack(lengths: list[int], context: int, lead: int = 0) -> list[PackedRow]:
    packer = Packer(context)
    rows: list[PackedRow] = []
    token = 1
    for document, length in enumerate(lengths):
        ids = np.arange(token, token + length, dtype=np.int32)
        token += length
        rows += packer.add(ids, np.ones(length, np.bool_), np.full(lead, 9_000, np.int32), document)
    return [*rows, *packer.rest()]


def test_every_token_is_there_once() -> None:
    lengths = [3, 70, 1, 16, 15, 17, 40]
    rows = pack(lengths, 16)
    assert all(row.ids.size == 16 for row in rows)
    ids = np.concatenate([row.ids for row in rows])
    assert ids[ids > 0].tolist() == list(range(1, sum(lengths) + 1))
    assert sum((row.documents < 0).sum() for row in rows[:-1]) <= len(rows), "at most one place a row is left empty"


def test_a_piece_begins_where_positions_do_and_its_first_token_does_not_count() -> None:
    for row in pack([5, 40, 3], 16):
        first = row.positions == 0
        assert first[0]
        assert not row.kept[first].any()
        assert row.kept[~first & (row.documents >= 0)].all()
        assert (row.documents[1:][~first[1:]] == row.documents[:-1][~first[1:]]).all(), "a piece is of one document"


def test_later_pieces_begin_with_the_shared_prefix() -> None:
    rows = pack([40], 16, lead=2)
    assert [row.ids[:2].tolist() for row in rows] == [[1, 2], [9_000, 9_000], [9_000, 9_000]]
    for row in rows[1:]:
        assert not row.kept[:2].any()
        assert row.kept[2:12].all()
    ids = np.concatenate([row.ids for row in rows])
    assert ids[(ids > 0) & (ids < 9_000)].tolist() == list(range(1, 41))


def test_tokens_that_do_not_count_stay_so() -> None:
    packer = Packer(16)
    kept = np.arange(10) % 2 == 0
    assert list(packer.add(np.arange(10, dtype=np.int32), kept, np.zeros(0, np.int32), 0)) == []
    (row,) = packer.rest()
    assert np.flatnonzero(row.kept).tolist() == [2, 4, 6, 8]
    assert list(packer.rest()) == []
