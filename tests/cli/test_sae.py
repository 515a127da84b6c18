"""`latentwatch sae`: what it says of an SAE, and the copies that it writes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from detectors.feature_set import SaeRef
from monitor.cli.sae import sae_app
from monitor.errors import ConfigError
from monitor.sae.sae_format import SAE_FORMATS, open_sae
from tests import sae_files
from tests.feature_set_factory import write_set


def sae(*arguments: object, code: int = 0) -> str:
    done = CliRunner().invoke(sae_app, [str(argument) for argument in arguments])
    if isinstance(done.exception, ConfigError):
        raise done.exception
    assert done.exit_code == code, done.output
    return done.stdout


def reader_line(printed: str) -> SaeRef:
    return SaeRef.model_validate(yaml.safe_load(printed.split("for reader.yaml:\n")[1])["sae"])


def test_inspect(tmp_path: Path) -> None:
    path = sae_files.gemma_scope(tmp_path)
    said = dict(line.split(maxsplit=1) for line in sae("inspect", path).splitlines() if line.strip())
    assert said["format"] == "gemma_scope"
    assert said["architecture"] == "jumprelu (read as jumprelu)"
    assert said["widths"] == "24 in, 64 latents"
    assert said["b_dec"] == "not subtracted from the input"
    assert said["hook"].split(maxsplit=1)[1].startswith("the residual stream after block 12 (")
    assert said["model"] == "google/gemma-2-2b"
    assert said["published"].split() == ["L0", "71"]


def test_the_printed_line_is_the_one_that_a_set_needs(tmp_path: Path) -> None:
    path = sae_files.openai(tmp_path)
    ref = reader_line(sae("inspect", path))
    assert ref == SaeRef(format="openai", path=str(path), sha256=SAE_FORMATS.load("openai").sha256(path), width=64)


def test_inspect_names_a_hook_that_is_taken_as_another(tmp_path: Path) -> None:
    hook = "blocks.15.hook_resid_pre"
    path = sae_files.lm_saes(tmp_path, hook_point_in=hook, hook_point_out=hook)
    assert ", taken as the residual stream after block 14\n" in sae("inspect", path)


def test_texts_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--model and --texts: give both to measure the SAE, or neither$"):
        sae("inspect", tmp_path, "--texts", "x.jsonl")


def test_convert_keeps_the_latents_of_sets(tmp_path: Path) -> None:
    (tmp_path / "sets").mkdir()
    write_set(tmp_path / "sets" / "one.yaml")  # latents 3 and 7
    out = tmp_path / "out"
    path = sae_files.gemma_scope(tmp_path)
    printed = sae("convert", path, "--out", out, "--sets", tmp_path / "sets", "--latents", "40")
    assert printed.startswith(f"{out}: 3 of 64 latents, ")
    assert open_sae(out).numbers.tolist() == [3, 7, 40]
    ref = reader_line(printed)
    assert (ref.format, ref.width) == ("compact", 64)
    assert ref.sha256 == SAE_FORMATS.load("compact").sha256(out)


@pytest.mark.parametrize(("latents", "reason"), [("1,x", "expected whole numbers"), (",", "names no latent")])
def test_latents_that_are_no_numbers(latents: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"^--latents: .*{reason}"):
        sae("convert", sae_files.gemma_scope(tmp_path), "--out", tmp_path / "out", "--latents", latents)
