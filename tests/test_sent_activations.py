"""Activations from a serving engine are judged as the text that they are of, or refused in words."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray

from monitor.alerts.alert import Alert
from monitor.assembly.artefacts import ModelArtefacts
from monitor.assembly.build import LiveEngine, build_live_engine
from monitor.assembly.sent_reader import build_sent_reader, rows_info
from monitor.config.sections import Config
from monitor.config.sinks import OtelConfig
from monitor.engine import Evaluation
from monitor.errors import BadEvent, ConfigError
from monitor.events.event import Event, EventLimits, Message, Origin, Record
from monitor.events.parse import AUTO, parse
from monitor.pipeline import Delivery, Pipeline
from monitor.sae.formats.saelens import load_saelens
from monitor.sae.rows import EncoderRows
from monitor.sae.rows_file import load_rows_info, save_rows
from monitor.sets.load import LoadedSet
from monitor.sets.probe import Probe
from monitor.sinks.jsonl import JsonlDeadLetters, JsonlSink
from monitor.sources.file import FileSource
from monitor.telemetry.health import Health
from monitor.telemetry.telemetry import Telemetry
from monitor.tokens.tokeniser import Tokenised
from tests.feature_set_factory import weighted_data
from tests.sent_payloads import connector_file, inline, lens_object, of_numpy
from tests.tiny_bundle import LATENTS, LAYER, TinySource, tiny_source
from tests.tiny_model import TinyModel

TEXT = Event(
    "chat-1",
    (Message("system", "Be kind"), Message("user", "How old is the fox?")),
    "The quick brown fox is 7 years old.",
    Origin("t", 0, 0),
)
TURNS = {
    "messages": [{"role": m.role, "content": m.content} for m in TEXT.messages],
    "response": TEXT.response,
}


@dataclass(frozen=True)
class Served:
    """A tiny model that serves, and a sidecar that reads the same one."""

    source: TinySource
    live: LiveEngine
    artefacts: ModelArtefacts
    folder: Path

    @cached_property
    def item(self) -> Tokenised:
        (item,) = self.source.tokeniser.tokenise([TEXT])
        return item

    @cached_property
    def model(self) -> TinyModel:
        folder = self.source.model.folder
        return TinyModel(folder, transformers.AutoModelForCausalLM.from_pretrained(folder).eval())

    def hidden(self, layer: int = LAYER) -> NDArray[np.float32]:
        """The output of the block, by transformers."""
        return self.model.hidden(self.item.ids, layer)

    @property
    def segments(self) -> list[dict[str, Any]]:
        names = [segment.name for segment in self.item.segments]
        return [
            {"role": name, "start": int(rows[0]), "end": int(rows[-1]) + 1}
            for name, rows in zip(names, self.item.rows, strict=True)
        ]

    @property
    def tokens(self) -> list[str]:
        """The text of each token: one character, or a mark of the template."""
        marks = {1: "<|system|>", 2: "<|user|>", 3: "<|assistant|>"}
        spelt = {
            int(n): segment.text[n - segment_rows[0]]
            for segment, segment_rows in zip(self.item.segments, self.item.rows, strict=True)
            for n in segment_rows
        }
        return [spelt.get(n, marks.get(int(i), "?")) for n, i in enumerate(self.item.ids)]

    def body(self, **changes: Any) -> dict[str, Any]:
        """An event with hidden states and offsets, and no text."""
        sent = {
            "kind": "hidden_states",
            "model_sha256": self.source.ref.model_sha256,
            "layer": LAYER,
            "data": inline({"hidden_states": of_numpy(self.hidden())}),
            "token_ids": self.item.ids.tolist(),
            "segments": self.segments,
        }
        sent |= changes
        return {"id": TEXT.id, "activations": {name: value for name, value in sent.items() if value is not None}}

    def judged(self, body: dict[str, Any]) -> Evaluation:
        (event,) = parse(Record(json.dumps(body).encode(), Origin("t", 0, 0)), EventLimits(max_bytes=10_000_000))
        (found,) = self.live.engine.evaluate([event])
        return found

    @cached_property
    def of_text(self) -> Evaluation:
        (found,) = self.live.engine.evaluate([TEXT])
        return found


def sets_of(source: TinySource, max_norm: float | None = None) -> tuple[LoadedSet, ...]:
    """A weighted set and a probe set; both are always active."""
    # small, so that no score is so near 0 or 1 that it would hide a difference
    features = [{"index": i, "label": f"latent {i}", "label_score": 0.9, "weight": 0.02} for i in LATENTS]
    low = {"segments": ["user", "response"], "threshold": 1e-6, "features": features}
    ref = source.ref.model_copy(update={"max_norm": max_norm})
    probe = Probe.of(np.random.default_rng(3).normal(scale=0.01, size=32).astype(np.float32), -0.25)
    found = [
        source.feature_set("plain", reader=ref.model_dump(), **low),
        source.feature_set("probed", reader=ref.model_dump(), detector="probe", probe=probe.sha256, **low),
    ]
    return found[0], replace(found[1], probe=probe)


def served(folder: Path, kind: str = "jumprelu", max_norm: float | None = None, engine: str = "torch") -> Served:
    source = tiny_source(folder, kind)
    payloads = folder / "payloads"
    payloads.mkdir()
    config = Config.model_validate(
        {
            "reader": {"engine": engine, "model": "tiny", "threads": 1, "cache_dir": str(folder / "cache")},
            "activations": {"folder": str(payloads), "wait_s": 0.0, "max_bytes": 1_000_000},
            "alerts": {"capture_content": True},
        }
    )
    artefacts = ModelArtefacts(sets_of(source, max_norm), source.model, load_saelens(folder / "sae"))
    return Served(source, build_live_engine(config, artefacts), artefacts, payloads)


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Served:
    return served(tmp_path_factory.mktemp("served"))


def scores(found: Evaluation) -> dict[str, float]:
    return {score.set_id: score.score for score in found.scores}


def assert_alike(found: Evaluation, expected: Evaluation, tolerance: float = 1e-4) -> None:
    assert scores(found) == pytest.approx(scores(expected), abs=tolerance)
    assert len(scores(found)) == 2
    assert all(0.01 < score < 0.99 for score in scores(expected).values()), scores(expected)
    assert [(a.set.id, a.severity, a.segment.name, a.segment.tokens) for a in found.alerts] == [
        (a.set.id, a.severity, a.segment.name, a.segment.tokens) for a in expected.alerts
    ]
    assert found.tokens == expected.tokens


@pytest.mark.parametrize("kind", ["standard", "jumprelu", "gated", "topk"])
@pytest.mark.parametrize("max_norm", [None, 32.0])
def test_hidden_states_score_as_their_text(tmp_path: Path, kind: str, max_norm: float | None) -> None:
    sidecar = served(tmp_path, kind, max_norm)
    assert sidecar.of_text.alerts
    if max_norm is not None:  # some tokens are left out, but not all
        assert 0 < (np.linalg.norm(sidecar.hidden(), axis=1) > max_norm).mean() < 1
    assert_alike(sidecar.judged(sidecar.body()), sidecar.of_text)


def test_they_score_as_their_text_read_by_a_bundle(tmp_path: Path) -> None:
    sidecar = served(tmp_path, engine="onnx")
    assert_alike(sidecar.judged(sidecar.body()), sidecar.of_text)


def test_segments_are_found_in_the_text_if_it_makes_the_same_tokens(sidecar: Served) -> None:
    found = sidecar.judged({**sidecar.body(segments=None), **TURNS})
    assert_alike(found, sidecar.of_text)
    for one, other in zip(found.alerts, sidecar.of_text.alerts, strict=True):
        assert one.content is not None
        assert other.content is not None
        assert (one.content.text, one.content.prompt) == (other.content.text, other.content.prompt)
    wrong = sidecar.item.ids.tolist()
    wrong[5] += 1
    assert "token 5 is" in refused(sidecar, {**sidecar.body(segments=None, token_ids=wrong), **TURNS})


def test_alerts_show_tokens_only_if_they_were_sent(sidecar: Served) -> None:
    without = sidecar.judged(sidecar.body()).alerts
    assert [alert.content for alert in without] == [None, None]
    assert all(token.text is None for a in without for f in a.features for token in f.tokens)
    with_tokens = sidecar.judged(sidecar.body(tokens=sidecar.tokens)).alerts
    for one, other in zip(with_tokens, sidecar.of_text.alerts, strict=True):
        assert one.content is not None
        assert other.content is not None
        assert (one.content.text, one.content.prompt) == (other.content.text, other.content.prompt)
        assert [(t.start, t.end, t.text) for f in one.features for t in f.tokens] == [
            (t.start, t.end, t.text) for f in other.features for t in f.tokens
        ]
    places = [[(t.start, t.end) for f in a.features for t in f.tokens] for a in (without[0], with_tokens[0])]
    assert places[0] == places[1]  # a token of this model is one character


def test_text_and_activations_keep_their_order(sidecar: Served) -> None:
    (sent,) = parse(Record(json.dumps(sidecar.body()).encode(), Origin("t", 0, 1)))
    other = replace(TEXT, id="chat-2")
    found = list(sidecar.live.engine.evaluate([TEXT, sent, other]))
    assert [(e.event.id, e.event.activations is None) for e in found] == [
        ("chat-1", True),
        ("chat-1", False),
        ("chat-2", True),
    ]


def test_in_the_loop_a_bad_one_is_a_dead_letter_and_the_others_alert(sidecar: Served, tmp_path: Path) -> None:
    bodies = [sidecar.body(), sidecar.body(layer=2), {"id": "chat-2", **TURNS}]
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(body) + "\n" for body in bodies))
    telemetry = Telemetry(OtelConfig(), "0", {})
    sink, letters = JsonlSink(tmp_path / "alerts"), JsonlDeadLetters(tmp_path / "bad")
    source = FileSource(str(tmp_path / "events.jsonl"), 1_000_000)
    delivery = Delivery([sink], letters, EventLimits(), AUTO)
    totals = Pipeline(source, sidecar.live.engine, delivery, telemetry, Health(300), threading.Event()).run()
    for opened in (sink, letters, source):
        opened.close()
    telemetry.shutdown()
    assert (totals.events, totals.bad, totals.tokens) == (2, 1, 2 * sidecar.item.ids.size)
    alerts = [Alert.from_json(line) for line in (tmp_path / "alerts").read_text().splitlines()]
    assert [alert.event.id for alert in alerts] == ["chat-1", "chat-1", "chat-2", "chat-2"]
    (bad,) = (json.loads(line) for line in (tmp_path / "bad").read_text().splitlines())
    assert (bad["path"], bad["reason"]) == ("$.activations.layer", "is 2, but the sets read 1")


@pytest.mark.parametrize("kind", ["standard", "jumprelu", "gated"])
def test_preactivations_of_the_exported_rows_score_as_their_text(tmp_path: Path, kind: str) -> None:
    sidecar = served(tmp_path, kind, 32.0)
    values, sha256 = products(sidecar)
    norms = of_numpy(np.linalg.norm(sidecar.hidden(), axis=1))
    body = preactivations(sidecar, values, sha256, norms=norms)
    assert_alike(sidecar.judged(body), sidecar.of_text)
    assert "needs norms" in refused(sidecar, preactivations(sidecar, values, sha256))


def products(sidecar: Served) -> tuple[torch.Tensor, str]:
    """What a server makes of the file that `export-rows` writes: rows times the hidden states."""
    from safetensors.torch import load_file

    path = sidecar.folder / "rows.safetensors"
    if not path.exists():
        save_rows(path, sidecar.artefacts.encoder_rows(), rows_info(sidecar.artefacts))
    rows = load_file(path)
    return of_numpy(sidecar.hidden()) @ rows["weight"].T + rows["bias"], load_rows_info(path).sha256()


def preactivations(sidecar: Served, values: torch.Tensor, sha256: str, **tensors: torch.Tensor) -> dict[str, Any]:
    data = inline({"preactivations": values.contiguous(), **tensors})
    return sidecar.body(kind="preactivations", rows_sha256=sha256, data=data)


def test_rows_that_a_server_still_uses_are_known_by_their_file(sidecar: Served, tmp_path: Path) -> None:
    values, sha256 = products(sidecar)
    fewer = replace(sidecar.artefacts, sets=sidecar.artefacts.sets[:1])
    settings = {"rows": [str(sidecar.folder / "rows.safetensors")]}
    (event,) = parse(Record(json.dumps(preactivations(sidecar, values, sha256)).encode(), Origin("t", 0, 0)))
    unknown = build_sent_reader(Config(), fewer, fewer.columns, sidecar.source.tokeniser)
    with pytest.raises(BadEvent, match="run export-rows again"):
        unknown.read(event, 1000)
    config = Config.model_validate({"activations": settings})
    _, found = build_sent_reader(config, fewer, fewer.columns, sidecar.source.tokeniser).read(event, 1000)
    exact = fewer.encoder_rows().of_hidden_states(sidecar.hidden())
    np.testing.assert_allclose(found, exact, atol=1e-4)
    other = replace(sidecar.artefacts, sets=sets_of(sidecar.source, 5.0))
    with pytest.raises(ConfigError, match="another model, layer or SAE"):
        build_sent_reader(config, other, other.columns, sidecar.source.tokeniser)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 0.02), ("bfloat16", 0.1)])
def test_sixteen_bits_come_close(sidecar: Served, dtype: str, tolerance: float) -> None:
    data = inline({"hidden_states": of_numpy(sidecar.hidden(), dtype)})
    assert_alike(sidecar.judged(sidecar.body(data=data)), sidecar.of_text, tolerance)


def test_the_file_of_vllm_s_connector(sidecar: Served) -> None:
    layers = [sidecar.hidden(0), sidecar.hidden(1)]
    connector_file(sidecar.folder / "cmpl-1.safetensors", layers, sidecar.item.ids)
    sent = {"format": "vllm", "layers": [2, 1], "layer": None, "data": None, "token_ids": None}
    for name in ("cmpl-1.safetensors", str(sidecar.folder / "cmpl-1.safetensors")):
        assert_alike(sidecar.judged(sidecar.body(**sent, file=name)), sidecar.of_text)
    assert_alike(
        sidecar.judged({**sidecar.body(**sent, file="cmpl-1.safetensors", segments=None), **TURNS}), sidecar.of_text
    )
    sent["layers"] = [1, 3]
    reason = refused(sidecar, sidecar.body(**sent, file="cmpl-1.safetensors"))
    assert "the sets read the output of block 1, which vllm calls 2; captured: [1, 3]" in reason


@pytest.mark.parametrize(
    ("dtype", "legacy", "tolerance"), [("float32", False, 1e-4), ("float32", True, 1e-4), ("bfloat16", False, 0.1)]
)
def test_the_object_of_vllm_lens(sidecar: Served, dtype: str, legacy: bool, tolerance: float) -> None:
    tensor = lens_object([sidecar.hidden(0), sidecar.hidden(1)], dtype, legacy)
    sent = {"format": "vllm_lens", "layers": [0, 1], "layer": None, "data": None}
    # the last token of a reply has no activations there
    ids = [*sidecar.item.ids.tolist(), 9]
    found = sidecar.judged(sidecar.body(**sent, residual_stream=tensor, token_ids=ids))
    assert_alike(found, sidecar.of_text, tolerance)
    reason = refused(sidecar, sidecar.body(**sent, residual_stream={"handle": "h", "transport": "binary"}))
    assert "holds a handle" in reason


def refused(sidecar: Served, body: dict[str, Any]) -> str:
    with pytest.raises(BadEvent) as caught:
        sidecar.judged(body)
    return str(caught.value)


def poisoned(values: NDArray[np.float32], value: float) -> NDArray[np.float32]:
    return np.where(np.arange(values.size).reshape(values.shape) == 40, np.float32(value), values)


WRONG: dict[str, tuple[Callable[[Served], dict[str, Any]], str]] = {
    "another model": (lambda s: s.body(model_sha256="0" * 64), "$.activations.model_sha256: is 0000"),
    "another model's name": (lambda s: s.body(model_sha256=None, model="x"), "model: is x, but the sets read tiny"),
    "another layer": (lambda s: s.body(layer=2), "$.activations.layer: is 2, but the sets read 1"),
    "another hook": (lambda s: s.body(hook="mlp_out"), "hook: is mlp_out, but the sets read resid_post"),
    "another width": (
        lambda s: s.body(data=inline({"hidden_states": of_numpy(s.hidden()[:, :16])})),
        "width 16, but the sets' hook point has 32",
    ),
    "another dtype": (
        lambda s: s.body(data=inline({"hidden_states": of_numpy(s.hidden(), "float64")})),
        "is F64; only F32, F16 and BF16 are read",
    ),
    "another tensor": (
        lambda s: s.body(data=inline({"resid": of_numpy(s.hidden())})),
        "has no tensor hidden_states; its tensors: resid",
    ),
    "three axes": (
        lambda s: s.body(data=inline({"hidden_states": of_numpy(s.hidden()[None])})),
        "but 2 axes are needed",
    ),
    "NaN": (
        lambda s: s.body(data=inline({"hidden_states": of_numpy(poisoned(s.hidden(), np.nan))})),
        "NaN or infinite",
    ),
    "infinity": (
        lambda s: s.body(data=inline({"hidden_states": of_numpy(poisoned(s.hidden(), np.inf))})),
        "NaN or infinite",
    ),
    "a pickle": (lambda s: s.body(data="gASVBQAAAAAAAAB9lC4="), "not a safetensors file"),
    "no base64": (lambda s: s.body(data="%%%"), "$.activations.data: not base64"),
    "too large": (lambda s: s.body(data="A" * 1_400_000), "over activations.max_bytes = 1000000"),
    "too few ids": (lambda s: s.body(token_ids=[1, 2]), "2 token_ids, but activations of"),
    "segments beyond": (
        lambda s: s.body(segments=[{"role": "user", "start": 1, "end": 5000}]),
        "$.activations.segments[0]: ends at token 5000",
    ),
    "no segments": (lambda s: s.body(segments=None), "needs segments, because the event has no text"),
    "no ids for the text": (
        lambda s: {**s.body(segments=None, token_ids=None), **TURNS},
        "needs segments, or text and token_ids",
    ),
    "other rows": (
        lambda s: preactivations(s, torch.zeros(s.item.ids.size, 5), "0" * 64),
        "names rows that are not those of the sets in use",
    ),
    "too few rows": (
        lambda s: preactivations(s, torch.zeros(s.item.ids.size, 3), rows_info(s.artefacts).sha256()),
        "3 preactivations a token, but the rows are 5",
    ),
    "a missing file": (lambda s: s.body(data=None, file="none"), "$.activations.file: not readable in"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_refused_in_words(sidecar: Served, case: str) -> None:
    make, words = WRONG[case]
    assert words in refused(sidecar, make(sidecar))


def test_a_topk_sae_takes_no_preactivations(tmp_path: Path) -> None:
    sidecar = served(tmp_path, "topk")
    rows, info = sidecar.artefacts.encoder_rows(), rows_info(sidecar.artefacts)
    with pytest.raises(ConfigError, match="send hidden_states"):
        save_rows(tmp_path / "rows", rows, info)
    body = preactivations(sidecar, torch.zeros(sidecar.item.ids.size, 5), info.sha256())
    assert "send hidden_states" in refused(sidecar, body)


def test_folded_and_normalised_rows_are_those_of_the_torch_encoder(tmp_path: Path) -> None:
    from monitor.sae.encoder import CuratedEncoder
    from tests.saelens import save_sae

    x = np.random.default_rng(1).normal(size=(2_000, 32)).astype(np.float32)  # more than one part
    for n, (kind, cfg) in enumerate(
        [("standard", {"normalize_activations": "layer_norm"}), ("topk", {"rescale_acts_by_decoder_norm": True})]
    ):
        folder = save_sae(tmp_path / str(n), kind, 32, 96, **cfg)
        sae = load_saelens(folder)
        ref = sidecar_ref("decoder_norm_folded")
        rows = EncoderRows.of(sae, (3, 50), (), ref)
        expected = CuratedEncoder(sae, (3, 50), "decoder_norm_folded")(torch.from_numpy(x)).numpy()
        assert np.count_nonzero(expected) > 10
        np.testing.assert_allclose(rows.of_hidden_states(x), expected, atol=1e-4)


def sidecar_ref(basis: str) -> Any:
    from detectors.feature_set import FeatureSet

    data = weighted_data()
    data["reader"]["sae"]["activation_basis"] = basis
    return FeatureSet.model_validate(data).reader
