"""SaeReference: the file next to an SAE, and files that are something else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from monitor.errors import ConfigError
from monitor.readers.reference import ReferenceActivations
from monitor.readers.sae_reference import ReferenceInfo, ReferenceText, ReferenceTurn, SaeReference

WIDTH = 6
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


def activations(latent: int) -> ReferenceActivations:
    """One text of one token, on which one latent is active."""
    one = np.ones(1, np.int32)
    return ReferenceActivations(one, one.astype(np.int64), one, one * latent, np.ones(1, np.float32))


def test_stored_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    SaeReference(INFO, activations(WIDTH - 1)).save(tmp_path / "reference.safetensors")
    again = SaeReference.load(tmp_path / "reference.safetensors")
    assert again.info == INFO
    assert again.activations.latents.tolist() == [WIDTH - 1]
    assert (tmp_path / "reference.safetensors").stat().st_mode & 0o777 == 0o644


def test_a_latent_that_the_sae_does_not_have(tmp_path: Path) -> None:
    path = tmp_path / "reference.safetensors"
    SaeReference(INFO, activations(WIDTH)).save(path)
    with pytest.raises(ConfigError, match=r"not reference activations: a latent is beyond the SAE's width"):
        SaeReference.load(path)


@pytest.mark.parametrize(
    ("info", "fault"),
    [
        (None, "metadata: reference: "),
        (WRITTEN.replace('"layer":1', '"layer":"x"'), "metadata: layer: "),
        (WRITTEN, "not reference activations: no tensor 'lengths'"),
    ],
)
def test_other_files(info: str | None, fault: str, tmp_path: Path) -> None:
    path = tmp_path / "reference.safetensors"
    save_file({"tokens": np.zeros(1)}, path, None if info is None else {"reference": info})
    with pytest.raises(ConfigError) as e:
        SaeReference.load(path)
    assert str(e.value).startswith(f"{path}: {fault}")
    assert "latentwatch lab reference" in str(e.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "reference.safetensors"
    path.write_bytes(b"no tensors")
    with pytest.raises(ConfigError, match=r"reference\.safetensors: not readable as safetensors: "):
        SaeReference.load(path)
