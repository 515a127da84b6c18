"""Engine on the real model, with made-up feature sets on an SAE that sae-lens wrote."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from monitor.alerts.alert import Alert
from monitor.assembly.artefacts import load_artefacts
from monitor.assembly.build import build_engine
from monitor.config.sections import Config
from monitor.engine import Engine, Evaluation
from monitor.errors import ConfigError
from monitor.events.event import Event
from monitor.readers.reader import Chunk
from tests.feature_set_factory import write_set
from tests.reader_model import D_MODEL, PACKAGE, ReaderModel, event
from tests.saelens import reference, save_sae

pytestmark = pytest.mark.model

LAYER = 3
WIDTH = 256
K = 32
LATENTS = tuple(range(5, 256, 8))
SECRET = "xylophone"


class Watch:
    """The made-up sets in a folder, and engines over them."""

    def __init__(self, folder: Path, model: ReaderModel) -> None:
        self.folder = folder
        save_sae(folder / "sae", "topk", D_MODEL, WIDTH, k=K)
        # bundles of made-up SAEs have no place in the user's cache; the converted model is taken from there
        self.cache = folder.parent / f"{folder.name}-cache"
        self.cache.mkdir()
        (self.cache / "models").symlink_to(model.files.folder.parent, target_is_directory=True)
        weights = folder / "sae" / "sae_weights.safetensors"
        self.reader = {
            "model": "smollm2",
            "model_sha256": model.files.sha256,
            "layer": LAYER,
            "sae": {"path": "sae", "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(), "width": WIDTH},
        }
        self.add("any-latent", threshold=1e-3)
        self.add("never", threshold=1e9)
        self.add("prompts", threshold=1e-3, segments=["user", "system"])

    def add(self, name: str, threshold: float, latents: Sequence[int] = LATENTS, **changes: object) -> Path:
        features = [{"index": i, "label": f"latent {i}", "label_score": 0.9, "threshold": threshold} for i in latents]
        return write_set(
            self.folder / f"{name}.yaml", **{"id": name, "reader": self.reader, "features": features, **changes}
        )

    def reader_config(self, window_tokens: int) -> dict[str, object]:
        settings = {"model": PACKAGE, "precision": "fp32", "cache_dir": str(self.cache)}
        return settings | {"window_tokens": window_tokens, "overlap_tokens": 64}

    def config(self, *only: str, **alerts: object) -> Config:
        return Config.model_validate(
            {
                "reader": self.reader_config(512),
                "feature_sets": {"paths": [str(self.folder)], "only": only},
                "alerts": alerts,
            }
        )


@pytest.fixture(scope="module")
def watch(reader_model: ReaderModel, tmp_path_factory: pytest.TempPathFactory) -> Watch:
    return Watch(tmp_path_factory.mktemp("sets"), reader_model)


@pytest.fixture(scope="module")
def engine(watch: Watch) -> Engine:
    config = watch.config("any-latent", "never", "prompts")
    return build_engine(config, load_artefacts(config))


@pytest.fixture(scope="module")
def events() -> list[Event]:
    texts = [f"Case {n}: the {word} lay on the table." for n, word in enumerate(("knife", SECRET, "日本 🎉", "bill"))]
    made = [event(text, f"What happened to {text}", event_id=f"e{n}") for n, text in enumerate(texts)]
    return [*made, event("", f"  Only a prompt with a {SECRET}. ", event_id="prompt"), event("", event_id="empty")]


@pytest.fixture(scope="module")
def evaluations(engine: Engine, events: list[Event]) -> list[Evaluation]:
    return list(engine.evaluate(events))


def plain(alert: Alert) -> dict[str, object]:
    """Everything but the time at which it was made, numbers rounded below float noise."""
    data: dict[str, object] = json.loads(alert.to_json(), parse_float=lambda s: float(f"{float(s):.3g}"))
    return {k: v for k, v in data.items() if k != "time"}


def test_alerts_are_those_whose_score_reaches_the_threshold(
    engine: Engine, events: list[Event], evaluations: list[Evaluation]
) -> None:
    for evaluation, scores in zip(evaluations, engine.scores(events), strict=True):
        found = {a.set.id: a for a in evaluation.alerts}
        assert set(scores) == {"any-latent", "never", "prompts"}
        assert set(found) == {name for name, score in scores.items() if score is not None and score.value >= 1}
        for name, alert in found.items():
            score = scores[name]
            assert score is not None
            assert alert.score == pytest.approx(score.value, rel=1e-5)
    assert [e.event.id for e in evaluations] == [e.id for e in events]
    assert sum(len(e.alerts) for e in evaluations) >= 4


def test_scores_equal_the_reference(
    engine: Engine, watch: Watch, reader_model: ReaderModel, events: list[Event]
) -> None:
    for item, scores in zip(reader_model.tokeniser.tokenise(events), engine.scores(events), strict=True):
        if item.segments[-1].name != "response" or not item.rows[-1].size:
            assert scores["any-latent"] is None
            continue
        encoded = reference(watch.folder / "sae", reader_model.residual(item.ids, LAYER).clone(), LATENTS)
        best = encoded[item.rows[-1]].max()
        found = scores["any-latent"]
        assert found is not None
        assert found.value * 1e-3 == pytest.approx(float(best), rel=1e-4, abs=1e-4)


def test_an_event_with_only_a_prompt_is_scored_by_sets_that_look_at_prompts(evaluations: list[Evaluation]) -> None:
    alerts = {a.set.id for a in evaluations[-2].alerts}
    assert "any-latent" not in alerts
    assert evaluations[-2].tokens > 0
    empty = evaluations[-1]
    assert (empty.alerts, empty.tokens, empty.windows) == ((), 0, 0)


@pytest.mark.parametrize("group_tokens", [1, 100])
def test_groups_change_nothing(
    group_tokens: int,
    engine: Engine,
    events: list[Event],
    evaluations: list[Evaluation],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "_group_tokens", group_tokens)
    groups: list[int] = []
    again = list(engine.evaluate(events, lambda: groups.append(1)))
    assert len(groups) > 1
    for one, other in zip(evaluations, again, strict=True):
        assert (one.event, one.tokens, one.windows) == (other.event, other.tokens, other.windows)
        assert [plain(a) for a in one.alerts] == [plain(a) for a in other.alerts]


def test_ids_depend_only_on_event_and_set(evaluations: list[Evaluation], engine: Engine, events: list[Event]) -> None:
    alerts = [a for e in evaluations for a in e.alerts]
    assert len({a.id for a in alerts}) == len(alerts)
    again = [a.id for e in engine.evaluate(list(reversed(events))) for a in e.alerts]
    assert sorted(again) == sorted(a.id for a in alerts)
    longer = [replace(e, response=e.response + " And more.") for e in events[:1]]
    assert {a.id for e in engine.evaluate(longer) for a in e.alerts} & {a.id for a in evaluations[0].alerts}


def test_without_capture_no_text_leaves(evaluations: list[Evaluation], events: list[Event]) -> None:
    for alert in (a for e in evaluations for a in e.alerts):
        assert alert.content is None
        assert all(t.text is None for f in alert.features for t in f.tokens)
        for word in (SECRET, "knife", "table", "What happened"):
            assert word not in alert.to_json()


@pytest.fixture(scope="module")
def capturing(watch: Watch) -> Engine:
    config = watch.config("any-latent", "prompts", capture_content=True, top_features=2, top_tokens=3)
    return build_engine(config, load_artefacts(config))


def test_offsets_are_of_the_segments_own_text(capturing: Engine, events: list[Event], watch: Watch) -> None:
    found = 0
    for evaluation in capturing.evaluate(events):
        for alert in evaluation.alerts:
            assert alert.content is not None
            text = alert.content.text
            assert text == (evaluation.event.response if alert.set.id == "any-latent" else alert.content.prompt)
            assert alert.segment.chars == len(text)
            assert len(alert.features) <= 2
            for feature in alert.features:
                assert 1 <= len(feature.tokens) <= 3
                values = [t.activation for t in feature.tokens]
                assert values == sorted(values, reverse=True)
                assert values[0] == pytest.approx(feature.activation, abs=1e-3)
                for token in feature.tokens:
                    assert token.text == text[token.start : token.end] != ""
                    found += 1
            assert max(s for _, _, s in alert.content.strengths) == 1
            assert all(0 <= a < b <= len(text) and 0 < s <= 1 for a, b, s in alert.content.strengths)
    assert found > 5


def test_an_alert_of_a_long_segment_names_the_window_that_decided(watch: Watch, events: list[Event]) -> None:
    pooling = {"kind": "mean", "window_tokens": 4, "window_penalty": 0.001}
    watch.add("windowed", threshold=1e-3, pooling=pooling)
    config = watch.config("windowed", capture_content=True)
    engine = build_engine(config, load_artefacts(config))
    alerts = [alert for e in engine.evaluate(events) for alert in e.alerts]
    assert alerts
    for alert in alerts:
        window, content = alert.segment.window, alert.content
        assert window is not None
        assert content is not None
        assert 2 < window.tokens <= 4 < alert.segment.tokens
        assert window.of == -(-alert.segment.tokens // 2) - 1
        assert 0 <= window.start < window.end <= alert.segment.chars
        spans = [(t.start, t.end) for f in alert.features for t in f.tokens] + [s[:2] for s in content.strengths]
        assert spans
        assert all(window.start <= start and end <= window.end for start, end in spans)


def test_the_alert_names_what_it_was_read_with(evaluations: list[Evaluation], watch: Watch) -> None:
    alert = next(a for e in evaluations for a in e.alerts if a.set.id == "any-latent")
    assert alert.reader.model_sha256 == watch.reader["model_sha256"]
    assert (alert.reader.layer, alert.reader.hook, alert.reader.activation_basis) == (LAYER, "resid_post", "raw")
    file = (watch.folder / "any-latent.yaml").read_bytes()
    assert alert.set.sha256 == hashlib.sha256(file).hexdigest()
    assert alert.config_sha256 == watch.config("any-latent", "never", "prompts").sha256()
    assert alert.message.startswith("feature active: Unsafe code in response (latent ")


def test_every_token_of_a_long_conversation_is_evaluated(
    engine: Engine, reader_model: ReaderModel, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A response of over 6,000 tokens, with one odd word at its far end and another at its start."""
    filler = "It rained, and then it rained again. " * 640
    long = event(f"Aardvark. {filler}{SECRET}", "Tell me everything.", event_id="long")
    (item,) = reader_model.tokeniser.tokenise([long])
    assert item.ids.size > 6_000
    last = item.rows[-1][-1]
    planned: list[np.ndarray] = []
    chunks: list[Chunk] = []

    def read(given: Sequence[Chunk]) -> list[np.ndarray]:
        """Says 1 for the last tokens of the far word, and for nothing else."""
        chunks.extend(given)
        planned.extend(g.tokens for g in given)
        values = [np.zeros((g.tokens.size, len(engine_latents)), np.float32) for g in given]
        values[-1][-1, :] = 1
        return values

    engine_latents = sorted(LATENTS)
    monkeypatch.setattr(engine._reader.reader, "read", read)
    monkeypatch.setattr(engine, "_group_tokens", 10_000)  # all windows in one call, so that the last is the last
    (evaluation,) = engine.evaluate([long])
    assert evaluation.windows == len(planned) > 12
    assert evaluation.tokens == item.ids.size
    alert = next(a for a in evaluation.alerts if a.set.id == "any-latent")
    start, end = alert.features[0].tokens[0].start, alert.features[0].tokens[0].end
    assert end == len(long.response)
    assert SECRET.endswith(long.response[start:end])
    assert alert.segment.tokens == item.rows[-1].size
    assert last == item.ids.size - 1
    # each window repeats the overlap and goes on where the one before ended
    start_size = reader_model.tokeniser.shared_prefixes()[-1].size
    joined = [item.ids[:start_size], planned[0], *(tokens[64:] for tokens in planned[1:])]
    np.testing.assert_array_equal(np.concatenate(joined), item.ids)


def test_a_feature_at_the_far_end_is_found_by_the_model_itself(watch: Watch, reader_model: ReaderModel) -> None:
    """The latent is the direction of one word's residual; only that word reaches the threshold."""
    folder = watch.folder.parent / "planted"
    (item,) = reader_model.tokeniser.tokenise([event(f"It rained again. {SECRET}", "Tell me everything.")])
    residual = reader_model.residual(item.ids, LAYER)
    word, rest = residual[-1], residual[item.rows[-1][:-3]]
    direction = (word - rest.mean(0)) / (word - rest.mean(0)).norm()
    save_sae(folder / "sae", "standard", D_MODEL, WIDTH)
    file = folder / "sae" / "sae_weights.safetensors"
    tensors = {name: torch.zeros_like(t) for name, t in load_file(file).items()}
    tensors["W_enc"][:, 7] = direction
    tensors["b_enc"][7] = -float((rest @ direction).max())
    save_file(tensors, file)
    sae = {"path": "sae", "sha256": hashlib.sha256(file.read_bytes()).hexdigest(), "width": WIDTH}
    peak = float(word @ direction) + float(tensors["b_enc"][7])
    write_set(
        folder / "planted.yaml",
        reader={**watch.reader, "sae": sae},
        features=[{"index": 7, "label": "the odd word", "label_score": 1.0, "threshold": 0.6 * peak}],
    )
    config = Config.model_validate(
        {
            "reader": watch.reader_config(256),
            "feature_sets": {"paths": [str(folder)]},
            "alerts": {"capture_content": True},
        }
    )
    engine = build_engine(config, load_artefacts(config))
    filler = "It rained again. " * 260
    with_word, without = engine.evaluate(
        [
            event(f"{filler}{SECRET}", "Tell me everything.", event_id="with"),
            event(filler, "Tell me everything.", event_id="without"),
        ]
    )
    assert without.alerts == ()
    assert without.windows > 4
    (alert,) = with_word.alerts
    assert alert.features[0].tokens[0].end == len(filler) + len(SECRET)


def test_a_model_or_sae_of_another_hash_is_refused(watch: Watch, tmp_path: Path) -> None:
    sae = {**watch.reader["sae"], "path": str(watch.folder / "sae")}  # type: ignore[dict-item]
    write_set(
        tmp_path / "s.yaml", reader={**watch.reader, "model_sha256": "0" * 64, "sae": {**sae, "sha256": "1" * 64}}
    )
    config = Config.model_validate({"reader": {"model": PACKAGE}, "feature_sets": {"paths": [str(tmp_path)]}})
    with pytest.raises(ConfigError) as caught:
        load_artefacts(config)
    model, weights = caught.value.problems
    assert "feature indices mean nothing on another model" in model
    assert "was made with " + "1" * 64 in weights


def test_a_device_that_is_not_there(watch: Watch) -> None:
    config = watch.config("any-latent")
    changes = {"engine": "torch", "device": "no-such-device"}
    config = config.model_copy(update={"reader": config.reader.model_copy(update=changes)})
    with pytest.raises(ConfigError, match=r"^reader\.device: no-such-device: "):
        build_engine(config, load_artefacts(config))
