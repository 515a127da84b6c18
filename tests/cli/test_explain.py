"""The arithmetic of a score, what is known of a feature, and the figures of a set, without a model."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from detectors.detector import detector_of
from monitor.cli.app import app
from monitor.cli.explain import _show, arithmetic, language_facts
from monitor.cli.features import feature_facts
from monitor.cli.set_facts import set_facts
from monitor.errors import ConfigError
from monitor.sets.feature_cards import CardContext, FeatureCard, Firing, save_cards
from monitor.sets.labels import Labels, LabelScore, Name
from monitor.sets.load import LoadedSet, load_feature_set
from tests.feature_set_factory import make_probe, make_set, make_weighted, weighted_data, write_yaml

METRIC = {"auroc": 0.75, "n_positive": 9, "n_negative": 9, "held_out": True}


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedSet:
    features = [{"index": 3, "label": 'tokens "sh"', "weight": 0.5}, {"index": 7, "label": "x", "weight": 1.5}]
    write_yaml(tmp_path / "a.yaml", weighted_data(id="a", features=features, languages=["en"], metrics={"one": METRIC}))
    score = LabelScore(detection=0.85, n=20, interval_95=(0.65, 0.95), fuzzing=0.7, fuzzing_n=10)
    weak = LabelScore(detection=0.69, n=20, interval_95=(0.5, 0.8))
    names = {
        3: Name(label="shell injection", score=score, false_friends=("shells on a beach",)),
        7: Name(label="eval", score=weak),
    }
    Labels(labels={3: 'tokens "sh"'}, names=names).save(tmp_path / "latents.json")
    return load_feature_set(tmp_path / "a.yaml")


def test_the_parts_of_a_score_add_up() -> None:
    used = make_probe(bias=-1.0)
    found = arithmetic(used, detector_of(used).score(np.array([4, 2, 0.75], np.float32)))
    assert [(r["index"], r["activation"], r["weight"], r["contribution"]) for r in found["features"]] == [
        (3, 4.0, 0.5, 2.0), (7, 2.0, -0.25, -0.5),
    ]  # fmt: skip
    assert found["logit"] == pytest.approx(-1.0 + 0.75 + 2.0 - 0.5)
    assert found["score"] == pytest.approx(1 / (1 + np.exp(-found["logit"])), abs=1e-5)
    assert [r["share"] for r in found["features"]] == [pytest.approx(2 / 2.75, abs=1e-4), None]
    assert found["probe"] == {"contribution": 0.75, "share": pytest.approx(0.75 / 2.75, abs=1e-4)}
    out = io.StringIO()
    _show(Console(file=out, width=110), found)
    assert "shell injection" in out.getvalue()
    assert "linear probe" in out.getvalue()
    assert "logit, the sum of all" in out.getvalue()


def test_a_set_with_a_condition_has_no_logit() -> None:
    used = make_set()
    found = arithmetic(used, detector_of(used).score(np.array([4, 0], np.float32)))
    assert (found["bias"], found["logit"], found["threshold"]) == (None, None, 1.0)
    assert [(r["index"], r["threshold"], r["contribution"]) for r in found["features"]] == [(3, 2.0, 2.0)]


def test_a_feature_with_all_that_is_known(loaded: LoadedSet) -> None:
    sae = loaded.shipped.reader.sae.sha256
    context = CardContext(file="own.jsonl", row="r1", tokens=(("run ", 0.0), ("sh", 4.5)))
    card = FeatureCard(
        index=3, sae_sha256=sae, contexts=(context,), firing={"benign": Firing(texts=0.1, tokens=0, n=9)}
    )
    save_cards(loaded.path.parent, {3: card})
    found = feature_facts(loaded, 3, [loaded])
    assert (found["label"], found["named"], found["label_score"]["detection"]) == ("shell injection", True, 0.85)
    assert (found["strongest_tokens"], found["false_friends"]) == ('tokens "sh"', ["shells on a beach"])
    assert (found["used_by"], found["enabled"], found["firing"]["benign"]["n"]) == (["a"], True, 9)
    assert found["contexts"][0]["tokens"][1] == ["sh", 4.5]
    save_cards(loaded.path.parent, {3: card.model_copy(update={"sae_sha256": "f" * 64})})
    assert feature_facts(loaded, 3, [loaded])["contexts"] == [], "a card of another SAE says nothing"
    with pytest.raises(ConfigError, match="a has no feature 5"):
        feature_facts(loaded, 5, [loaded])


def test_the_commands_print_text_and_json(loaded: LoadedSet, tmp_path: Path) -> None:
    config = write_yaml(tmp_path / "elsewhere" / "config.yaml", {"feature_sets": {"paths": [str(loaded.path)]}})

    def printed(*arguments: str) -> str:
        done = CliRunner().invoke(app, [*arguments, "--config", str(config)], env={"COLUMNS": "200"})
        assert done.exit_code == 0, done.exception
        return done.stdout

    text = printed("features", "show", "a", "3")
    assert "Feature 3 of a: shell injection" in text
    assert "detection 0.85 (95 % interval 0.65 to 0.95, n 20); fuzzing 0.70, n 10" in text
    assert "Not: shells on a beach" in text
    assert "Feature 7 of a: unnamed: eval" in printed("features", "show", "a", "7")
    assert json.loads(printed("features", "show", "a", "3", "--json"))["index"] == 3
    (facts,) = json.loads(printed("sets", "list", "--json"))
    assert facts["id"] == "a"


def test_the_figures_of_a_set(loaded: LoadedSet) -> None:
    facts: dict[str, Any] = set_facts(loaded)
    assert (facts["features"], facts["named_features"], facts["named_share"]) == (2, 1, 0.25)
    assert facts["median_label_score"] == pytest.approx(0.77)
    assert facts["recall_at_threshold"] == {"one": None}
    assert (facts["languages"], facts["target_fpr"]) == (["en"], None)
    plain = LoadedSet(Path("x.yaml"), "0", make_weighted(), make_weighted())
    assert set_facts(plain)["languages"] is None


def test_a_set_that_abstains_says_so_and_shows_what_it_would_score() -> None:
    used = make_weighted(languages=["en"])
    text = "Der Ausschuss trifft sich am Donnerstag und spricht über die neue Bücherei."
    facts = language_facts(used, text)
    assert facts == {"language": "de", "languages": ["en"], "abstains": True}
    assert language_facts(make_weighted(), text) == {"language": None, "languages": None, "abstains": False}
    out = io.StringIO()
    found = arithmetic(used, detector_of(used).score(np.array([4, 2], np.float32))) | facts
    _show(Console(file=out, width=200), found)
    assert "In this language (de), unsafe-code abstains" in out.getvalue()
