"""Golden: activations that were stored, and how far a reader is from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from monitor.errors import ConfigError
from monitor.readers.onnx.golden import Golden, load_tensors
from monitor.readers.onnx.sparse import Compact, dense


class Reader:
    """Hands out each token's number times `factor`; for TopK, in a column that is the number's parity."""

    def __init__(self, factor: float = 1.0, topk: bool = False, columns: tuple[int, ...] = (0, 1)) -> None:
        self.factor = factor
        self.topk = topk
        self.columns = columns

    def raw(self, tokens: NDArray[np.int32]) -> tuple[NDArray[np.float32], NDArray[np.int64] | None]:
        values = (tokens * self.factor).astype(np.float32)[:, None]
        if self.topk:
            return values, (tokens % 2).astype(np.int64)[:, None]
        return np.concatenate([values, values + 1], axis=1), None

    def columns_of(self, raw: Compact) -> NDArray[np.float32]:
        return dense([raw], 2)[:, list(self.columns)] if self.topk else raw.values[:, list(self.columns)]


def reader(**options: Any) -> Any:
    return cast(Any, Reader(**options))


TEXTS = [np.array(text, np.int32) for text in ([3, 4, 5], [7], [2, 2])]


@pytest.mark.parametrize("topk", [False, True])
def test_stored_and_loaded_it_is_the_same(topk: bool, tmp_path: Path) -> None:
    golden = Golden.read(reader(topk=topk), TEXTS)
    golden.save(tmp_path / "golden.safetensors")
    again = Golden.load(tmp_path / "golden.safetensors")
    assert again.tokens.tolist() == [3, 4, 5, 7, 2, 2]
    assert again.lengths.tolist() == [3, 1, 2]
    np.testing.assert_array_equal(again.values, golden.values)
    assert (again.columns is not None) == topk
    assert again.difference(reader(topk=topk)) == 0


@pytest.mark.parametrize("topk", [False, True])
@pytest.mark.parametrize("factor", [1.01, 0.5, -1.0])
def test_the_difference_is_a_share_of_the_size(topk: bool, factor: float) -> None:
    golden = Golden.read(reader(topk=True), TEXTS)
    assert golden.difference(reader(topk=True, factor=factor)) == pytest.approx(abs(1 - factor), rel=1e-4)


def test_only_the_columns_of_the_reader_count() -> None:
    golden = Golden.read(reader(topk=True), TEXTS)
    even = Golden(golden.tokens, golden.lengths, golden.values + (golden.tokens % 2)[:, None], golden.columns)
    assert even.difference(reader(topk=True, columns=(0,))) == 0
    assert even.difference(reader(topk=True, columns=(1,))) > 0.1


def test_without_any_activation_the_difference_is_absolute() -> None:
    golden = Golden.read(reader(topk=True, factor=0.0), TEXTS)
    assert golden.difference(reader(topk=True, factor=0.0)) == 0
    assert golden.difference(reader(topk=True)) > 5


def test_a_reader_that_hands_out_no_numbers_differs() -> None:
    assert not Golden.read(reader(), TEXTS).difference(reader(factor=float("nan"))) <= 1e9


@pytest.mark.parametrize("content", [None, b"", b"no tensors"])
def test_a_file_that_cannot_be_read(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "golden.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"golden\.safetensors: not readable as safetensors: "):
        load_tensors(path)
