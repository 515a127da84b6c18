"""load_sae: the SAE that a set names, or why the folder holds another."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detectors.feature_set import ReaderRef, SaeRef
from monitor.errors import ConfigError
from monitor.sae.formats.saelens import WEIGHTS_FILE, load_saelens
from monitor.sae.sae_format import SAE_FORMATS, SaeFormat, load_sae
from tests.saelens import edit_cfg, save_sae

NAMED_BY = Path("sets/one.yaml")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_sae(tmp_path / "sae", d_in=8, d_sae=16)


def ref(folder: Path, **changes: Any) -> SaeRef:
    sha256 = hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest()
    return SaeRef.model_validate({"path": "sae", "sha256": sha256, "width": 16, **changes})


def reader(sae: SaeRef) -> ReaderRef:
    return ReaderRef(model="tiny", model_sha256="2" * 64, layer=3, sae=sae)


def refused(folder: Path, wanted: SaeRef) -> str:
    with pytest.raises(ConfigError) as caught:
        load_sae(folder, reader(wanted), NAMED_BY)
    (problem,) = caught.value.problems
    return problem.replace(str(folder), "SAE")


def test_the_sae_that_the_set_names(folder: Path) -> None:
    assert load_sae(folder, reader(ref(folder)), NAMED_BY).d_sae == 16


def test_an_unknown_format(folder: Path) -> None:
    problem = refused(folder, ref(folder, format="pickle"))
    formats = ", ".join(SAE_FORMATS.built_in)
    assert problem == f"sets/one.yaml: reader.sae.format: no SAE format is called 'pickle'; there are {formats}"


def test_another_sae(folder: Path) -> None:
    problem = refused(folder, ref(folder, sha256="1" * 64))
    assert problem.startswith(f"SAE/{WEIGHTS_FILE}: sha256 is ")
    assert problem.endswith(f", but sets/one.yaml was made with {'1' * 64}")


def test_another_width(folder: Path) -> None:
    problem = refused(folder, ref(folder, width=32))
    assert problem == "sets/one.yaml: reader.sae.width: 32, but the SAE has 16 latents"


def test_missing_files(folder: Path) -> None:
    wanted = ref(folder)
    (folder / WEIGHTS_FILE).unlink()
    assert refused(folder, wanted) == f"sets/one.yaml: reader.sae.path: SAE/{WEIGHTS_FILE}: no such file"


@pytest.mark.parametrize("change", [lambda f: f / "a", lambda f: f / "b"])
def test_the_hash_of_several_files_is_of_all_of_them(tmp_path: Path, change: Callable[[Path], Path]) -> None:
    layout = SaeFormat(("a", "b"), load_saelens)
    (tmp_path / "a").write_text("one")
    (tmp_path / "b").write_text("two")
    before = layout.sha256(tmp_path)
    change(tmp_path).write_text("three")
    assert layout.sha256(tmp_path) != before


def test_an_sae_of_another_layer_is_refused(folder: Path) -> None:
    edit_cfg(folder, metadata={"hook_name": "blocks.7.hook_resid_post", "model_name": "gemma-2-2b"})
    problem = refused(folder, ref(folder))
    assert problem.startswith(
        "sets/one.yaml: reader.layer: the SAE reads the residual stream after block 7 (blocks.7.hook_resid_post in its"
    )


def test_the_log_says_how_an_sae_is_taken(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    edit_cfg(folder, metadata={"hook_name": "blocks.4.hook_resid_pre"})
    with caplog.at_level("INFO"):
        load_sae(folder, reader(ref(folder)), NAMED_BY)
    assert "the residual stream before block 4 (blocks.4.hook_resid_pre) is taken as" in caplog.text


def test_readers_keep_no_decoder(folder: Path) -> None:
    assert load_sae(folder, reader(ref(folder)), NAMED_BY).w_dec is None
