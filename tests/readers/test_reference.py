"""Reference: what is stored, how far a reader is from it, and files that are none."""

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
from monitor.readers.reference import Read, Reference, ReferenceInfo, ReferenceText, ReferenceTurn

WIDTH = 6
TEXTS = [np.array(text, np.int32) for text in ([3, 4, 5], [1], [2, 2])]
INFO = ReferenceInfo(
    format=1,
    latentwatch="0",
    model="m",
    model_sha256="a" * 64,
    layer=1,
    sae_sha256="b" * 64,
    width=WIDTH,
    activation_basis="raw",
    max_norm=None,
    texts=(ReferenceText(turns=(ReferenceTurn(role="user", content="é\n"),), response="r"),),
)
WRITTEN = INFO.model_dump_json()


def reader(factor: float = 1.0, latents: Sequence[int] = range(WIDTH), known: int = 0) -> Read:
    """Token t has activation t + 1 in latent t, times `factor`; the first `known` tokens of a text are left out."""

    def read(texts: Sequence[NDArray[np.int32]]) -> list[NDArray[np.float32]]:
        whole = [np.eye(WIDTH, dtype=np.float32)[text] * (text[:, None] + 1) * np.float32(factor) for text in texts]
        return [values[:, list(latents)][min(known, values.shape[0] - 1) :] for values in whole]

    return read


@pytest.fixture
def stored() -> Reference:
    return Reference.read(INFO, TEXTS, reader())


def test_stored_and_loaded_it_is_the_same(stored: Reference, tmp_path: Path) -> None:
    stored.save(tmp_path / "golden.safetensors")
    again = Reference.load(tmp_path / "golden.safetensors")
    assert again.info == INFO
    assert [text.tolist() for text in again.texts] == [text.tolist() for text in TEXTS]
    assert again.counts.tolist() == [1] * 6
    assert again.latents.tolist() == [3, 4, 5, 1, 2, 2]
    assert again.values.tolist() == [4, 5, 6, 2, 3, 3]
    assert again.difference(range(WIDTH), reader()) == 0


@pytest.mark.parametrize("factor", [1.01, 0.5, -1.0])
@pytest.mark.parametrize("latents", [range(WIDTH), [5, 1], [2]])
def test_the_difference_is_a_share_of_the_size(stored: Reference, latents: Sequence[int], factor: float) -> None:
    assert stored.difference(latents, reader(factor, latents)) == pytest.approx(abs(1 - factor), rel=1e-4)


def test_columns_in_another_order_differ(stored: Reference) -> None:
    assert stored.difference([1, 5], reader(latents=[5, 1])) > 1


def test_probes_behind_the_latents_are_not_compared(stored: Reference) -> None:
    assert stored.difference([5, 1], reader(latents=[5, 1, 3])) == 0
    assert stored.difference([5, 1], reader(1.1, latents=[5, 1, 3])) == pytest.approx(0.1, rel=1e-4)
    assert stored.difference([], reader(latents=[3])) == 0


def test_what_a_reader_knows_already_is_not_compared(stored: Reference) -> None:
    assert stored.difference(range(WIDTH), reader(known=1)) == 0
    assert stored.difference(range(WIDTH), reader(1.1, known=1)) == pytest.approx(0.1, rel=1e-4)


def test_where_nothing_is_active_the_difference_is_absolute(stored: Reference) -> None:
    assert stored.difference([0], reader(latents=[0])) == 0
    assert stored.difference([0], reader(latents=[3])) == pytest.approx(4)


def test_a_reader_that_hands_out_no_numbers_differs(stored: Reference) -> None:
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
        {"latents": np.array([3, 4, 5, 1, 2, WIDTH], np.int32)},
        {"latents": np.array([3, 4, 5, 1, 2, -1], np.int32)},
    ],
)
def test_tensors_that_do_not_fit_together(stored: Reference, changes: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "golden.safetensors"
    replace(stored, **changes).save(path)
    with pytest.raises(ConfigError, match=r"golden\.safetensors: not golden activations: its tensors do not fit"):
        Reference.load(path)


@pytest.mark.parametrize(
    ("info", "fault"),
    [
        (None, "metadata: reference: "),
        (WRITTEN.replace('"layer":1', '"layer":"x"'), "metadata: layer: "),
        (WRITTEN, "not golden activations: 'lengths'"),
    ],
)
def test_other_files_are_none(info: str | None, fault: str, tmp_path: Path) -> None:
    path = tmp_path / "golden.safetensors"
    save_file({"tokens": np.zeros(1)}, path, None if info is None else {"reference": info})
    with pytest.raises(ConfigError) as e:
        Reference.load(path)
    assert str(e.value).startswith(f"{path}: {fault}")
    assert "latentwatch lab golden" in str(e.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "golden.safetensors"
    path.write_bytes(b"no tensors")
    with pytest.raises(ConfigError, match=r"golden\.safetensors: not readable as safetensors: "):
        Reference.load(path)
