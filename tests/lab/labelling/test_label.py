"""`lab label`: from texts to names that were measured, with a small model and an SAE with one planted latent."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitor.config.sections import Config
from monitor.errors import ConfigError
from monitor.lab.reading.hook import hook_of_sae
from monitor.sets.feature_cards import load_cards
from monitor.sets.labels import load_labels
from monitor.sets.load import load_feature_set
from tests.feature_set_factory import summed_data
from tests.lab.commands.test_sae_commands import lab
from tests.lab.planted_sae import LATENT, LAYER, WORD, save_planted_model, save_planted_sae
from tests.lab.small_llama import WORDS

OTHER = 2


class Files:
    """A set over two latents, and rows of which half have the planted word."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder = folder
        self.model = save_planted_model(folder / "model", model)
        sae = save_planted_sae(folder / "sets" / "sae", self.model)
        self.config = folder / "config.yaml"
        self.config.write_text(yaml.safe_dump({"reader": {"model": str(self.model), "threads": 1}}))
        config = Config.model_validate({"reader": {"model": str(self.model), "engine": "torch"}})
        reader = hook_of_sae(config, sae, LAYER, None).reader.model_dump(mode="json", exclude_none=True)
        features = [{"index": LATENT, "label": "x", "weight": 0.5}, {"index": OTHER, "label": "y", "weight": -0.1}]
        self.set = folder / "sets" / "planted.yaml"
        data = summed_data(id="planted", category="planted", features=features, reader=reader)
        self.set.write_text(yaml.safe_dump(data))
        draw = random.Random(3)  # noqa: S311 - texts, not secrets
        plain = [word for word in WORDS if word != WORD]
        lines = []
        for n in range(120):
            words = [draw.choice(plain) for _ in range(draw.randint(40, 60))]
            if n % 2:
                words[draw.randrange(len(words))] = WORD
            row = {"id": f"r{n}", "pair": f"p{n // 2}", "prompt": "w1", "response": " ".join(words), "label": n % 2}
            lines.append(json.dumps(row))
        self.rows = folder / "rows.jsonl"
        self.rows.write_text("\n".join(lines))
        self.out = folder / "out"

    def run(self, *arguments: object) -> str:
        done = lab("label", *arguments, "--config", self.config)
        assert done.exit_code == 0, (done.output, done.exception)
        return " ".join(done.output.split())

    def lines(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.out / name).read_text().splitlines()]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, small_llama: Path) -> Files:
    made = Files(tmp_path_factory.mktemp("label"), small_llama)
    made.run("export", made.set, "--rows", made.rows, "--out", made.out, "--each", 5, "--seed", 2, "--threads", 1)
    return made


@pytest.fixture
def names(files: Files, tmp_path: Path) -> Iterator[Path]:
    """A file of names; what a test writes next to the set is gone afterwards."""
    path = tmp_path / "names.csv"
    path.write_text(f"index,label,note,false_friends\n{LATENT},the word {WORD},only it,its capital; w77\n{OTHER},,,\n")
    yield path
    for made in ("latents.json", "features.jsonl", "labels/planted.key.jsonl", "labels/planted.verdicts.jsonl"):
        (files.set.parent / made).unlink(missing_ok=True)


def test_a_sheet_shows_where_a_latent_is_active(files: Files) -> None:
    first, second = files.lines("sheets.jsonl")
    assert [(row["index"], row["sign"]) for row in (first, second)] == [(LATENT, "+"), (OTHER, "-")]
    assert {context["kind"] for context in first["contexts"]} == {"top", "random"}, "every peak is as strong"
    for context in first["contexts"]:
        strongest = max(context["tokens"], key=lambda pair: pair[1])
        assert (strongest[0].strip(), context["side"]) == (WORD, "risky")
        assert strongest[1] == pytest.approx(context["activation"], rel=1e-3)
    assert first["firing"]["risky"]["texts"] == 1.0
    assert first["firing"]["harmless"] == {"texts": 0.0, "tokens": 0.0, "n": first["firing"]["risky"]["n"]}
    assert len(first["logit_lens"]["promoted"]) == 12
    assert f"features/latent-{LATENT:05d}.html" in (files.out / "index.html").read_text()
    assert WORD in (files.out / "features" / f"latent-{LATENT:05d}.html").read_text()


def test_no_text_is_both_for_naming_and_for_judging(files: Files) -> None:
    shown = {int(c["row"][1:]) // 2 for row in files.lines("sheets.jsonl") for c in row["contexts"]}
    kept = {int(question["row"][1:]) // 2 for question in files.lines("held_back.jsonl")}
    assert shown
    assert kept
    assert not shown & kept, "not even the twin of one"
    info = json.loads((files.out / "config.json").read_text())
    assert (info["seed"], info["rows_for_naming"] + info["rows_kept_back"]) == (2, 120)


def test_contexts_kept_back_are_balanced_and_true(files: Files) -> None:
    planted = [q for q in files.lines("held_back.jsonl") if q["index"] == LATENT]
    by_answer = {(k, a): [q for q in planted if (q["kind"], q["answer"]) == (k, a)] for k in ("detection", "fuzzing") for a in (True, False)}  # fmt: skip # noqa: E501
    assert len(by_answer["detection", True]) == len(by_answer["detection", False]) == 5
    assert {len(by_answer["fuzzing", answer]) for answer in (True, False)} <= {2, 3}
    assert all(WORD in q["text"].split() for q in by_answer["detection", True])
    assert not any(WORD in q["text"].split() for q in by_answer["detection", False])
    assert all(f"[[{WORD}]]" in q["text"] for q in by_answer["fuzzing", True])
    assert not any(f"[[{WORD}]]" in q["text"] for q in by_answer["fuzzing", False])


def test_names_are_unnamed_until_they_are_measured(files: Files, names: Path, tmp_path: Path) -> None:
    before = load_feature_set(files.set)
    said = files.run("import", files.set, "--labels", names)
    assert "1 of 2 latents of planted got a name" in said
    assert "1 of them count as unnamed" in said
    loaded = load_feature_set(files.set)
    assert loaded.sha256 != before.sha256
    planted = loaded.set.features[0]
    assert (planted.label, planted.named) == (f"the word {WORD}", False)
    sheet = tmp_path / "sheet.jsonl"
    files.run("score", files.set, "--held-back", files.out / "held_back.jsonl", "--sheet", sheet)
    asked = [json.loads(line) for line in sheet.read_text().splitlines()]
    assert {frozenset(question) for question in asked} == {frozenset(("id", "kind", "label", "text"))}, "blind"
    verdicts = tmp_path / "ana.jsonl"
    lines = [{"id": q["id"], "verdict": _judged(q["kind"], q["text"])} for q in asked]
    verdicts.write_text("\n".join(map(json.dumps, lines)))
    said = files.run("score", files.set, "--verdicts", verdicts)
    assert "written" in said
    name = load_labels(files.set.with_name("latents.json"))[0].names[LATENT]
    assert name.score is not None
    assert (name.score.detection, name.score.n, name.score.fuzzing) == (1.0, 10, 1.0)
    assert 0.6 < name.score.interval_95[0] < 0.95
    assert name.false_friends == ("its capital", "w77")
    assert load_feature_set(files.set).set.features[0].named
    # the score follows from what lies next to the set
    kept = files.set.with_name("latents.json").read_text()
    files.run("score", files.set)
    assert files.set.with_name("latents.json").read_text() == kept
    # another name for the latent has to be measured again, and the same one does not
    files.run("import", files.set, "--labels", names)
    assert load_feature_set(files.set).set.features[0].named
    names.write_text(names.read_text().replace("the word", "any word but"))
    files.run("import", files.set, "--labels", names)
    assert not load_feature_set(files.set).set.features[0].named
    done = lab("label", "score", files.set, "--config", files.config)
    assert "no verdict answers a question about a name" in str(done.exception)


def _judged(kind: str, text: str) -> str:
    found = f"[[{WORD}]]" in text if kind == "fuzzing" else WORD in text.split()
    return "yes" if found else "no"


class _Judge(BaseHTTPRequestHandler):
    """An OpenAI-compatible server that is busy at first."""

    seen: list[tuple[str | None, dict[str, Any]]]
    failures: list[int]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append((self.headers["Authorization"], body))
        status = self.failures.pop() if self.failures else 200
        said = body["messages"][0]["content"]
        text = said.partition("Text:\n")[2]
        answer = _judged("fuzzing" if "[[ and" not in said and "[[" in text else "detection", text).capitalize() + "."
        raw = json.dumps({"choices": [{"message": {"role": "assistant", "content": answer}}]}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    _Judge.seen, _Judge.failures = [], []
    made = ThreadingHTTPServer(("127.0.0.1", 0), _Judge)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def test_a_server_can_judge(
    files: Files, names: Path, tmp_path: Path, server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitor.lab.labelling.endpoint._PAUSE_S", 0.0)
    files.run("import", files.set, "--labels", names)
    _Judge.failures = [503]
    (tmp_path / "key").write_text("secret-key\n")
    files.run(
        "score", files.set, "--held-back", files.out / "held_back.jsonl", "--judge", "reader",
        "--endpoint", f"http://127.0.0.1:{server.server_port}/v1", "--api-key-file", tmp_path / "key",
    )  # fmt: skip
    assert {key for key, _ in _Judge.seen} == {"Bearer secret-key"}
    assert all(body["model"] == "reader" for _, body in _Judge.seen)
    score = load_labels(files.set.with_name("latents.json"))[0].names[LATENT].score
    assert score is not None
    assert score.detection == 1.0
    kept = (files.set.parent / "labels" / "planted.verdicts.jsonl").read_text()
    assert '"judge": "reader"' in kept
    assert "secret-key" not in kept


def test_a_server_that_refuses_ends_the_command(files: Files, names: Path, server: ThreadingHTTPServer) -> None:
    files.run("import", files.set, "--labels", names)
    _Judge.failures = [401]
    url = f"http://127.0.0.1:{server.server_port}/v1"
    ask = ["score", files.set, "--held-back", files.out / "held_back.jsonl", "--judge", "m", "--config", files.config]
    done = lab("label", *ask, "--endpoint", url)
    assert isinstance(done.exception, ConfigError)
    assert "status 401" in str(done.exception)
    done = lab("label", *ask, "--endpoint", "ftp://x")
    assert "must begin with http:// or https://" in str(done.exception)


def test_cards_show_what_may_be_shown(files: Files, names: Path) -> None:
    files.run("import", files.set, "--labels", names)
    done = lab("label", "cards", files.set, "--rows", files.rows, "--config", files.config)
    assert "no feature has a name that holds up" in str(done.exception)
    files.run("cards", files.set, "--rows", files.rows, "--only", LATENT, "--threads", 1)
    (card,) = load_cards(files.set.parent).values()
    assert card.index == LATENT
    assert WORD in "".join(text for text, _ in card.contexts[0].tokens)
    assert card.firing["risky"].texts == 1.0
    assert card.firing["risky"].n == 60, "nothing is kept back from a card"


def test_benign_texts_give_a_card_rates_but_no_contexts(files: Files, names: Path, tmp_path: Path) -> None:
    files.run("import", files.set, "--labels", names)
    rows, benign = tmp_path / "rows.jsonl", tmp_path / "benign.jsonl"
    rows.write_text("".join(json.dumps({"response": f"w1 {n * 'w2 '}{WORD} w3", "label": 1}) + "\n" for n in range(3)))
    benign.write_text("".join(json.dumps({"response": f"w5 {n * 'w4 '}{WORD} w6"}) + "\n" for n in range(3)))
    files.run("cards", files.set, "--rows", rows, "--benign", benign, "--only", LATENT, "--threads", 1)
    (card,) = load_cards(files.set.parent).values()
    assert {context.file for context in card.contexts} == {"rows.jsonl"}
    assert card.firing["benign"].texts == 1.0
