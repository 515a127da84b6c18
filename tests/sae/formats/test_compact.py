"""The compact layout: fewer latents and rounded weights, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from monitor.errors import ConfigError
from monitor.sae.encoder import CuratedEncoder
from monitor.sae.formats.compact import COMPACT, convert
from monitor.sae.sae_format import open_sae
from monitor.sae.storage import load_stored_sae
from tests import sae_files
from tests.sae.formats.parity import residual
from tests.saelens import save_sae

KEPT = (3, 17, 40)


def test_the_latents_that_were_kept_read_as_before(tmp_path: Path) -> None:
    source = sae_files.gemma_scope(tmp_path)
    done = convert(source, tmp_path / "out", (40, 3, 17, 3), "float32", decoder=True)
    whole, small, x = open_sae(source), open_sae(tmp_path / "out"), residual()
    assert done.bytes_after < done.bytes_before / 5
    assert done.rounding == 0
    assert (small.d_sae, small.rows, small.numbers.tolist()) == (whole.d_sae, 3, list(KEPT))
    assert small.origin == whole.origin
    for basis in ("raw", "decoder_norm_folded"):
        expected = CuratedEncoder(whole, (40, 3), basis)(x).numpy()
        np.testing.assert_array_equal(CuratedEncoder(small, (40, 3), basis)(x).numpy(), expected)
    assert whole.w_dec is not None
    assert small.w_dec is not None
    np.testing.assert_array_equal(small.w_dec, whole.w_dec[list(KEPT)])


def test_a_latent_that_was_left_out_is_refused(tmp_path: Path) -> None:
    convert(sae_files.gemma_scope(tmp_path), tmp_path / "out", KEPT, "float16", decoder=False)
    small = open_sae(tmp_path / "out")
    assert small.w_dec is None
    with pytest.raises(ConfigError, match=r"^feature index 4 is not among the 3 latents that this SAE was cut down to"):
        CuratedEncoder(small, (3, 4))
    with pytest.raises(ConfigError, match=r"^feature index 64 is outside the SAE's 64 latents$"):
        CuratedEncoder(small, (3, 64))
    with pytest.raises(ConfigError, match="feature index 63 is not among the 3 latents"):
        load_stored_sae(tmp_path / "out" / "latentwatch-sae.safetensors", (63,))


def test_half_precision_is_near_and_says_how_near(tmp_path: Path) -> None:
    source = sae_files.gemma_scope(tmp_path)
    done = convert(source, tmp_path / "out", None, "float16", decoder=True)
    assert 0 < done.rounding < 1e-3
    x = residual()
    ours, theirs = (CuratedEncoder(open_sae(p), KEPT)(x).numpy() for p in (tmp_path / "out", source))
    assert np.abs(ours - theirs).max() < 0.02 * theirs.max()


def test_every_change_of_the_file_changes_the_hash(tmp_path: Path) -> None:
    source = sae_files.gemma_scope(tmp_path)
    hashes = {
        convert(source, tmp_path / str(n), latents, "float16", decoder=True).sha256
        for n, latents in enumerate((None, KEPT, KEPT[:2]))
    }
    assert len(hashes) == 3
    assert COMPACT.sha256(tmp_path / "1") in hashes


def test_what_cannot_be_converted(tmp_path: Path) -> None:
    topk = save_sae(tmp_path / "topk", "topk", 24, 64)
    with pytest.raises(ConfigError, match="topk: all latents of a TopK SAE decide which are active"):
        convert(topk, tmp_path / "out", KEPT, "float16", decoder=True)
    large = sae_files.goodfire(tmp_path, **{"encoder_linear.weight": np.full((64, 24), 1e6, np.float32)})
    with pytest.raises(ConfigError, match=r"too large for float16; use --dtype float32$"):
        convert(large, tmp_path / "out", None, "float16", decoder=True)
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigError, match="topk: exists already"):
        convert(large, topk, None, "float32", decoder=True)
