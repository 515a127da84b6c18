"""RowCache: one file for the same rows and the same key, and files that are damaged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from monitor.errors import ConfigError
from monitor.lab.data.rows import LabelledRow
from monitor.lab.reading.row_cache import RowCache, load_arrays, save_arrays


@dataclass(frozen=True)
class Arrays:
    numbers: NDArray[np.int64]
    names: NDArray[np.str_]


MADE = Arrays(np.arange(3), np.array(["a", "bc", ""]))
ROWS = [LabelledRow(id=str(n), response="r", label=0) for n in range(2)]


def test_a_file_is_named_by_everything_that_decides_what_is_read(tmp_path: Path) -> None:
    cache = RowCache(tmp_path, "model and SAE")
    assert cache.file(ROWS) == RowCache(tmp_path, "model and SAE").file(list(ROWS))
    others = [cache.file(ROWS[:1]), cache.file(ROWS[::-1]), RowCache(tmp_path, "another model").file(ROWS)]
    assert cache.file(ROWS) not in others
    assert RowCache(tmp_path, "model and SAE", "tokens-").file(ROWS).name == f"tokens-{cache.file(ROWS).name}"


def test_stored_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "made.npz"
    save_arrays(path, MADE)
    found = load_arrays(path, Arrays)
    assert (found.numbers.tolist(), found.names.tolist()) == ([0, 1, 2], ["a", "bc", ""])
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("keep", [0, 10, -30])
def test_a_damaged_file_is_refused_by_name(keep: int, tmp_path: Path) -> None:
    path = tmp_path / "made.npz"
    save_arrays(path, MADE)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ConfigError, match=r"made\.npz: not a file of cached activations: .*; delete it"):
        load_arrays(path, Arrays)
