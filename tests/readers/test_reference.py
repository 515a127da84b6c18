"""ReferenceActivations: what is stored, how far a reader is from it, and files that hold something else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from monitor.errors import ConfigError
from monitor.readers.reference import ReadTexts, ReferenceActivations

WIDTH = 6
TEXTS = [np.array(text, np.int32) for text in ([3, 4, 5], [1], [2, 2])]


def reader(factor: float = 1.0, latents: Sequence[int] = range(WIDTH), known: int = 0) -> ReadTexts:
    """Token t has activation t + 1 in latent t, times `factor`; the first `known` tokens of a text are left out."""

    def read(texts: Sequence[NDArray[np.int32]]) -> list[NDArray[np.float32]]:
        whole = [np.eye(WIDTH, dtype=np.float32)[text] * (text[:, None] + 1) * np.float32(factor) for text in texts]
        return [values[:, list(latents)][min(known, values.shape[0] - 1) :] for values in whole]

    return read


@pytest.fixture
def stored() -> ReferenceActivations:
    return ReferenceActivations.read(range(WIDTH), TEXTS, reader())


def test_stored_and_loaded_it_is_the_same(stored: ReferenceActivations, tmp_path: Path) -> None:
    stored.save(tmp_path / "stored.safetensors")
    again = ReferenceActivations.load(tmp_path / "stored.safetensors")
    assert [text.tolist() for text in again.texts] == [text.tolist() for text in TEXTS]
    assert again.counts.tolist() == [1] * 6
    assert again.latents.tolist() == [3, 4, 5, 1, 2, 2]
    assert again.values.tolist() == [4, 5, 6, 2, 3, 3]
    assert again.difference(range(WIDTH), reader()) == 0


@pytest.mark.parametrize("factor", [1.01, 0.5, -1.0])
@pytest.mark.parametrize("latents", [range(WIDTH), [5, 1], [2]])
def test_the_difference_is_a_share_of_the_norm(
    stored: ReferenceActivations, latents: Sequence[int], factor: float
) -> None:
    assert stored.difference(latents, reader(factor, latents)) == pytest.approx(abs(1 - factor), rel=1e-4)


@pytest.mark.parametrize("flips", [0.1, 0.2])
def test_latents_that_flip_are_not_counted_if_they_are_few(stored: ReferenceActivations, flips: float) -> None:
    def flipped(texts: Sequence[NDArray[np.int32]]) -> list[NDArray[np.float32]]:
        found = list(reader(1.01)(texts))
        found[1][0, 1] = 0  # one of six active latents
        return found

    size = np.linalg.norm([4, 5, 6, 2, 3, 3])
    counted = flips < 1 / 6
    expected = np.linalg.norm([0.04, 0.05, 0.06, 2 if counted else 0, 0.03, 0.03]) / size
    assert stored.difference(range(WIDTH), flipped, flips) == pytest.approx(expected, rel=1e-4)


def test_columns_are_compared_by_their_numbers() -> None:
    stored = ReferenceActivations.read([5, 2, 4], TEXTS, reader(latents=[5, 2, 4]))
    assert sorted(set(stored.latents.tolist())) == [2, 4, 5]
    assert stored.difference([4, 5], reader(latents=[4, 5])) == 0
    assert stored.difference([5, 4], reader(latents=[4, 5])) > 1


def test_further_columns_are_not_compared(stored: ReferenceActivations) -> None:
    assert stored.difference([5, 1], reader(latents=[5, 1, 3])) == 0
    assert stored.difference([5, 1], reader(1.1, latents=[5, 1, 3])) == pytest.approx(0.1, rel=1e-4)
    assert stored.difference([], reader(latents=[3])) == 0


def test_what_a_reader_knows_already_is_not_compared(stored: ReferenceActivations) -> None:
    assert stored.difference(range(WIDTH), reader(known=1)) == 0
    assert stored.difference(range(WIDTH), reader(1.1, known=1)) == pytest.approx(0.1, rel=1e-4)


def test_what_a_reader_knows_already_is_not_stored() -> None:
    stored = ReferenceActivations.read(range(WIDTH), TEXTS, reader(known=1))
    assert stored.counts.tolist() == [0, 1, 1, 1, 0, 1]
    assert stored.latents.tolist() == [4, 5, 1, 2]
    assert stored.difference(range(WIDTH), reader(known=1)) == 0


def test_where_nothing_is_active_the_difference_is_absolute(stored: ReferenceActivations) -> None:
    assert stored.difference([0], reader(latents=[0])) == 0
    assert stored.difference([0], reader(latents=[3])) == pytest.approx(4)


def test_a_latent_beyond_those_that_are_active(stored: ReferenceActivations) -> None:
    assert stored.difference([40_000], lambda texts: [np.zeros((t.size, 1), np.float32) for t in texts]) == 0


def test_a_reader_that_gives_no_numbers_differs(stored: ReferenceActivations) -> None:
    assert not stored.difference(range(WIDTH), reader(float("nan"))) <= 1e9


@pytest.mark.parametrize(
    "changes",
    [
        {"lengths": np.array([3, 1, 1])},
        {"lengths": np.array([3, 3, 0])},
        {"lengths": np.array([3.0, 1.0, 2.0])},
        {"values": np.ones((6, 1), np.float32)},
        {"counts": np.array([1, 1, 1, 1, 1, 0], np.int32)},
        {"values": np.ones(5, np.float32)},
        {"latents": np.array([3, 4, 5, 1, 2, -1], np.int32)},
    ],
)
def test_tensors_that_do_not_fit_together(
    stored: ReferenceActivations, changes: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "stored.safetensors"
    replace(stored, **changes).save(path)
    with pytest.raises(ConfigError, match=r"stored\.safetensors: not reference activations: its tensors do not fit"):
        ReferenceActivations.load(path)


@pytest.mark.parametrize("content", [None, b"", b"no tensors"])
def test_a_file_that_cannot_be_read(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "stored.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"stored\.safetensors: not readable as safetensors: "):
        ReferenceActivations.load(path)


def test_a_file_of_other_tensors(tmp_path: Path) -> None:
    path = tmp_path / "stored.safetensors"
    save_file({"tokens": np.zeros(1)}, path)
    with pytest.raises(ConfigError, match=r"stored\.safetensors: not reference activations: no tensor 'lengths'$"):
        ReferenceActivations.load(path)
