"""Clamped features on a small model: exact arithmetic at the hook, and figures that follow from it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from monitor.errors import ConfigError
from monitor.events.event import Event, Message, Origin
from monitor.lab.steering.decomposition import Decomposition
from monitor.lab.steering.edit import AddDirection, Clamp, Elsewhere, random_directions, unit
from monitor.lab.steering.examples import shipped_examples
from monitor.lab.steering.feature_choice import control_latents, find_feature
from monitor.lab.steering.rig import SeenActivations, SteeringRig
from monitor.lab.steering.steer import SteerRequest, condition_count, steer
from monitor.lab.steering.steer_figures import steer_figures
from monitor.lab.steering.steered_model import GenerationSettings
from tests.lab.commands.test_sae_commands import lab
from tests.lab.small_llama import D_MODEL, WORDS
from tests.lab.steering.planted import CAUSAL, WIDTH, open_rig, save_set

TEXT = " ".join(WORDS[3:20])


@pytest.fixture(scope="module")
def set_file(tmp_path_factory: pytest.TempPathFactory, small_llama: Path) -> Path:
    return save_set(tmp_path_factory.mktemp("sets"), small_llama)


@pytest.fixture(scope="module")
def rig(set_file: Path, small_llama: Path) -> SteeringRig:
    return open_rig(set_file, small_llama)


@pytest.fixture(scope="module")
def of(rig: SteeringRig) -> Decomposition:
    return rig.decomposition([CAUSAL, CAUSAL + 1])


@pytest.fixture(scope="module")
def ids(rig: SteeringRig) -> np.ndarray:
    (item,) = rig.tokeniser.tokenise([Event("a", (Message("user", "w1"),), TEXT, Origin("a", 0, 0))])
    return item.ids


def test_a_clamp_sets_the_feature_and_keeps_everything_else(of: Decomposition) -> None:
    x = torch.randn(40, D_MODEL, generator=torch.Generator().manual_seed(1))
    before = of.activations(x)
    assert bool((before > 0).any())
    after = x + Clamp(of, (0,), 7.5)(x)
    read = of.activations(after)
    torch.testing.assert_close(read[before[:, 0] > 0, 0], torch.full((int((before[:, 0] > 0).sum()),), 7.5))
    torch.testing.assert_close(read[:, 1], before[:, 1])
    # whatever is not along the decoder row, the SAE's error included, is as before
    row = unit(of.rows)[0]
    rest = torch.eye(D_MODEL) - torch.outer(row, row)
    torch.testing.assert_close(after @ rest, x @ rest)


def test_ablation_takes_away_what_is_active_and_nothing_more(of: Decomposition) -> None:
    x = torch.randn(40, D_MODEL, generator=torch.Generator().manual_seed(2))
    active = of.activations(x)
    both = x + Clamp(of, (0, 1), 0.0)(x)
    torch.testing.assert_close(of.activations(both), torch.zeros(40, 2), atol=1e-5, rtol=0)
    silent = (active == 0).all(dim=1)
    torch.testing.assert_close(both[silent], x[silent])


def test_controls_move_a_token_as_far_as_the_edit(of: Decomposition) -> None:
    x = torch.randn(12, D_MODEL, generator=torch.Generator().manual_seed(3))
    for edit in (Clamp(of, (0,), 0.0), Clamp(of, (0,), 9.0), AddDirection(of, 0, 2.0)):
        other = Elsewhere(edit, unit(of.rows)[0], random_directions(1, D_MODEL, 0)[0])
        change = edit(x).expand_as(x)
        torch.testing.assert_close(other(x).expand_as(x).norm(dim=1), change.norm(dim=1))


def test_an_edit_that_changes_nothing_is_the_identity(rig: SteeringRig, of: Decomposition, ids: np.ndarray) -> None:
    def own_value(x: torch.Tensor) -> torch.Tensor:
        return (of.activations(x) - of.activations(x)) @ of.rows

    plain, same, other = rig.model.log_probs(ids, [None, own_value, Clamp(of, (0,), 30.0)])
    torch.testing.assert_close(plain[1:], same[1:])
    assert not torch.allclose(plain[2:], other[2:], atol=1e-3)
    kl = rig.model.divergence(ids, 4, [None, own_value, Clamp(of, (0,), 30.0)])
    assert kl[:2] == pytest.approx([0, 0], abs=1e-5)
    assert kl[2] > 0.01


def test_tokens_over_the_norm_limit_are_not_edited(
    set_file: Path, small_llama: Path, rig: SteeringRig, of: Decomposition, ids: np.ndarray
) -> None:
    limited = open_rig(set_file, small_llama)
    limited.model._max_norm = 1e-6
    edits = [None, Clamp(of, (0,), 30.0)]
    plain, same = limited.model.log_probs(ids, edits)
    torch.testing.assert_close(plain[1:], same[1:])


def test_rows_are_edited_each_in_its_own_way_while_the_model_writes(rig: SteeringRig, of: Decomposition) -> None:
    opening = rig.tokeniser.opening([Message("user", "w5 w6")])
    how = GenerationSettings(tokens=8)
    edit = Clamp(of, (0,), 60.0)
    alone = [rig.model.generate(opening, [each], how)[0].tolist() for each in (None, edit)]
    together = [ids.tolist() for ids in rig.model.generate(opening, [None, edit], how)]
    assert together == alone
    assert alone[0] != alone[1]
    stopped = rig.model.generate(opening, [None], GenerationSettings(tokens=8, stop=(alone[0][2],)))[0]
    assert stopped.tolist() == alone[0][: alone[0].index(alone[0][2])]


def test_the_score_while_held_rises_with_the_value_and_that_of_the_base_does_not(rig: SteeringRig) -> None:
    request = SteerRequest(
        CAUSAL, (0.0, 2.0, 8.0), ("w5 w6", "w9"), controls=(9,), directions=2, generation=GenerationSettings(6)
    )
    done: list[int] = []
    texts = steer(rig, request, done.append)
    assert sum(done) == len(texts) == condition_count(request) * 2
    figures = steer_figures(texts, 0.5)
    held = {kind: [f.held_score for f in figures if f.kind == kind] for kind in ("feature", "control feature")}
    assert held["feature"] == sorted(held["feature"])
    assert held["feature"][2] > held["feature"][0] + 0.1
    assert max(held["control feature"]) - min(held["control feature"]) < 0.01
    base = figures[0]
    assert (base.kind, base.texts, base.divergence) == ("base", 2, pytest.approx(0, abs=1e-5))
    assert base.held_score == pytest.approx(base.score)
    assert json.loads(json.dumps(base.row()))["value"] is None


def test_features_are_found_by_index_and_by_name(rig: SteeringRig) -> None:
    assert find_feature(rig.hook, "7") == 7
    assert find_feature(rig.hook, "Planted") == CAUSAL
    with pytest.raises(ConfigError, match=f"{WIDTH} latents"):
        find_feature(rig.hook, str(WIDTH))
    with pytest.raises(ConfigError, match="no label contains that"):
        find_feature(rig.hook, "nonsense")
    with pytest.raises(ConfigError, match=rf"2 labels contain that; give an index: {CAUSAL}: the planted one; "):
        find_feature(rig.hook, "one")


def test_controls_are_active_about_as_often() -> None:
    rate = np.array([0.5, 0.1, 0.11, 0.09, 0.0, *np.geomspace(1e-6, 1e-5, 60)])
    seen = SeenActivations(np.ones(rate.size, np.float32), rate, 100)
    found = control_latents(seen, 1, 40, {3}, seed=0)
    assert 4 not in found
    assert {1, 3}.isdisjoint(found)
    assert set(control_latents(seen, 1, 2, set(range(5, 65)), 0)) <= {0, 2, 3}


def test_the_command_writes_page_figures_and_curve(set_file: Path, small_llama: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    attack = "<script>alert(1)</script>"
    rows.write_text(json.dumps({"id": "a", "prompt": "w1", "response": TEXT, "label": 1}) + "\n")
    config = tmp_path / "c.yaml"
    config.write_text("reader: {threads: 1}\n")
    out = tmp_path / "run"
    done = lab(
        "steer", "--set", set_file, "--model", small_llama, "--feature", CAUSAL, "--times-max", "0,5", "--texts", rows,
        "--prompt", f"w5 {attack}", "--tokens", 5, "--controls", 1, "--out", out, "-c", config,
    )  # fmt: skip
    assert done.exit_code == 0, (done.output, done.exception)
    found = json.loads((out / "steering.json").read_text())
    assert found["largest_activation"] > 0
    assert {f["kind"] for f in found["figures"]} == {"base", "feature", "control feature", "random direction"}
    assert len(found["texts"]) == 1 + 2 * 3
    page = (out / "index.html").read_text()
    assert attack not in page
    assert "data:image/png;base64," in page
    assert (out / "sweep.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--value", "1", "--times-max", "2"], "give either --values or --times-max"),
        (["--value", "x"], "expected numbers"),
        (["--value", "nan"], "expected finite numbers"),
        (["--value", "1", "--until-token", "w1 w2"], "is not one token"),
        (["--value", "1", "--samples", "2", "--temperature", "0"], "all the same"),
    ],
)
def test_bad_options_are_refused(set_file: Path, small_llama: Path, arguments: list[str], problem: str) -> None:
    done = lab("steer", "--set", set_file, "--model", small_llama, "--feature", CAUSAL, "--prompt", "w1", *arguments)
    assert isinstance(done.exception, ConfigError)
    assert problem in str(done.exception)


def test_the_shipped_examples_are_named_features_of_six_sets() -> None:
    found = shipped_examples()
    assert len({example.set for example in found.examples}) == 6
    assert set(found.times_max) == {0, 1, 5, 10}
    assert not math.isnan(sum(found.times_max))


def test_values_are_in_the_basis_of_the_set(rig: SteeringRig) -> None:
    ref = rig.hook.reader
    sae = ref.sae.model_copy(update={"activation_basis": "decoder_norm_folded"})
    hook = replace(rig.hook, reader=ref.model_copy(update={"sae": sae}))
    folded, raw = Decomposition(hook, [CAUSAL]), rig.decomposition([CAUSAL])
    x = torch.randn(20, D_MODEL, generator=torch.Generator().manual_seed(4))
    x = x[raw.activations(x)[:, 0] > 0]
    after = x + Clamp(folded, (0,), 6.0)(x)
    torch.testing.assert_close(folded.activations(after), torch.full((x.shape[0], 1), 6.0))
    torch.testing.assert_close(raw.activations(after), torch.full((x.shape[0], 1), 3.0))  # rows have length 2


@pytest.mark.parametrize("normalisation", ["layer_norm", "constant_norm_rescale"])
def test_a_normalised_sae_reconstructs_at_the_size_of_the_token(rig: SteeringRig, normalisation: str) -> None:
    hook = replace(rig.hook, sae=replace(rig.hook.sae, normalisation=normalisation))
    of = Decomposition(hook, [CAUSAL])
    x = torch.randn(6, D_MODEL, generator=torch.Generator().manual_seed(5))
    small, large = Clamp(of, (0,), 4.0)(x), Clamp(of, (0,), 4.0)(10 * x)
    # what is active is the same, and so is its share of the token
    torch.testing.assert_close(large, 10 * small, rtol=1e-3, atol=1e-3)
