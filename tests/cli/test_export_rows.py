"""`latentwatch export-rows`: the rows of the sets in use, in a file that a server multiplies with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file
from typer.testing import CliRunner

from monitor.cli.app import app
from monitor.errors import ConfigError
from monitor.sae.formats.saelens import load_saelens
from monitor.sae.rows_file import load_rows_info
from tests.feature_set_factory import weighted_data, write_yaml
from tests.tiny_bundle import LATENTS, tiny_source


def test_it_writes_the_rows_and_says_what_a_token_costs(tmp_path: Path) -> None:
    source = tiny_source(tmp_path, "jumprelu")
    features = [{"index": i, "label": f"latent {i}", "label_score": 0.9, "weight": 0.1} for i in LATENTS]
    write_yaml(tmp_path / "sets" / "one.yaml", weighted_data(reader=source.ref.model_dump(), features=features))
    (tmp_path / "sets" / "sae").symlink_to(tmp_path / "sae", target_is_directory=True)
    config = tmp_path / "config.yaml"
    reader = {"model": str(source.model.folder), "cache_dir": str(tmp_path / "cache")}
    config.write_text(
        yaml.safe_dump({"reader": reader, "feature_sets": {"paths": [str(tmp_path / "sets" / "one.yaml")]}})
    )
    out = tmp_path / "rows.safetensors"
    command = ["export-rows", "--config", str(config), "--out", str(out)]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    info = load_rows_info(out)
    assert info.latents == LATENTS
    assert done.stdout.splitlines()[1:] == [
        f"rows_sha256   {info.sha256()}",
        "a token in 16 bits: 8 bytes of pre-activations, 64 bytes of hidden state",
    ]
    sae, rows = load_saelens(tmp_path / "sae"), load_file(out)
    x = np.ones(32, np.float32)
    shifted = x - sae.b_dec if sae.subtract_b_dec else x
    expected = shifted @ sae.w_enc[:, LATENTS] + sae.b_enc[list(LATENTS)]
    np.testing.assert_allclose(rows["weight"] @ x + rows["bias"], expected, rtol=1e-4)
    with pytest.raises(ConfigError, match="exists already"):
        CliRunner().invoke(app, command, catch_exceptions=False)
