"""Every format gives the activations that its own package gives, in both encoders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from monitor.sae.encoder import CuratedEncoder
from monitor.sae.sae_format import SAE_FORMATS, detected_format
from tests.sae.formats.parity import CASES, ParityCase, residual


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.format}-{case.name}")
def test_equals_the_package_that_wrote_it(case: ParityCase, tmp_path: Path) -> None:
    path, x = case.make(tmp_path), residual()
    assert detected_format(path) == case.format
    sae = SAE_FORMATS.load(case.format).load(path)
    theirs = case.expected(path, x)
    scale = float(np.abs(theirs).max())
    assert 0 < (theirs > 0).mean() < 1
    ours = CuratedEncoder(sae, range(sae.d_sae))(x).numpy()
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * scale)
    np.testing.assert_array_equal(ours > 0, theirs > 0)
    chosen = (5, 0, sae.d_sae - 1)
    np.testing.assert_array_equal(CuratedEncoder(sae, chosen)(x).numpy() > 0, theirs[:, list(chosen)] > 0)
    assert sae.w_dec is not None
    assert sae.origin is not None
    assert sae.origin.format == case.format or case.format == "compact"
