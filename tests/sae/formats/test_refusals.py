"""What a format would otherwise read wrongly is refused, with file, key and rule."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from monitor.errors import ConfigError
from monitor.sae.sae_format import SAE_FORMATS, detected_format
from tests import sae_files
from tests.sae.formats.refusals import REFUSALS, Refusal


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda r: f"{r.format}-{r.name}")
def test_refused(refusal: Refusal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = refusal.make(tmp_path)
    with pytest.raises(ConfigError) as caught:
        SAE_FORMATS.load(refusal.format).load(path)
    assert all(problem.startswith(f"{tmp_path}/") for problem in caught.value.problems)
    assert any(problem.endswith(refusal.message) for problem in caught.value.problems), caught.value.problems
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", SAE_FORMATS.built_in)
def test_every_format_has_cases(name: str) -> None:
    from tests.sae.formats.parity import CASES

    assert any(case.format == name for case in CASES)
    assert name == "saelens" or any(refusal.format == name for refusal in REFUSALS)


def test_no_sae_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no SAE in a format that is known \(compact, saelens, "):
        detected_format(tmp_path)
    with pytest.raises(ConfigError, match="nowhere: no such file or folder"):
        detected_format(tmp_path / "nowhere")


def test_a_folder_of_many_layers_needs_the_name_of_one(tmp_path: Path) -> None:
    file = sae_files.qwen_scope(tmp_path)
    qwen = SAE_FORMATS.load("qwen_scope")
    assert qwen.sha256(file.parent) == qwen.sha256(file)
    file.with_name("layer13.sae.pt").write_bytes(file.read_bytes())
    for use in (qwen.sha256, qwen.load):
        with pytest.raises(ConfigError, match=r"holds several SAEs \(layer12.sae.pt, layer13.sae.pt\); name one file"):
            use(file.parent)
    assert qwen.load(file).k == sae_files.K


@pytest.mark.parametrize(
    ("make", "cfg"),
    [(sae_files.llama_scope, "hyperparams.json"), (sae_files.sparsify, "cfg.json"), (sae_files.lm_saes, "config.json")],
)
def test_settings_that_decide_the_maths_are_in_the_hash(make: Callable[[Path], Path], cfg: str, tmp_path: Path) -> None:
    path = make(tmp_path)
    layout = SAE_FORMATS.load(detected_format(path))
    before = layout.sha256(path)
    (path / cfg).write_text((path / cfg).read_text() + " ")
    assert layout.sha256(path) != before
