"""The shipped sets: what every file must hold, and that no file changes without a new version."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import yaml

from detectors.feature_set import FeatureSet
from detectors.metrics import near_chance
from monitor.cli.figures_table import false_positive_table, figures_table, summary_table
from monitor.lab.labelling.cards_page import PAGE_FILE
from monitor.lab.labelling.judging import label_scores, load_key, load_verdicts
from monitor.readers.sae_reference import ReferenceCheck
from monitor.sae.formats.saelens import WEIGHTS_FILE, load_saelens
from monitor.sets.feature_cards import load_cards
from monitor.sets.labels import LABELS_FILE, load_labels
from monitor.sets.load import LoadedSet, builtin_folder, load_feature_sets

CATEGORIES = {"unsafe_code", "backdoors", "bias", "deception", "sycophancy", "dangerous_advice"}
SETS = load_feature_sets(["builtin:smollm2-135m-instruct"])
CONTRASTS = sorted((builtin_folder() / "contrasts").glob("*.jsonl"))
CASES = sorted((builtin_folder() / "cases").glob("*.jsonl"))
ROOT = Path(__file__).parents[2]


def test_every_category_has_a_set() -> None:
    assert {s.set.category for s in SETS} == CATEGORIES
    assert [s.set.id for s in SETS] == sorted(CATEGORIES)


@pytest.mark.parametrize("loaded", SETS, ids=lambda s: s.set.id)
def test_a_set_is_complete(loaded: LoadedSet) -> None:
    used = loaded.set
    assert used.calibration is not None
    low, high = used.calibration.interval_95
    assert low <= used.calibration.measured_fpr <= high
    assert used.metrics, "no figures"
    assert used.summary is not None
    assert all(m.held_out for m in used.metrics.values())
    assert used.falsepositives
    assert used.known_gaps
    assert all(f.label for f in used.features)


@pytest.mark.parametrize("loaded", SETS, ids=lambda s: s.set.id)
def test_a_set_reads_like_a_rule(loaded: LoadedSet) -> None:
    text = loaded.path.read_text()
    assert len(text.splitlines()) <= 80
    keys = [line.split(":")[0] for line in text.splitlines() if line[0:1].isalpha()]
    order = ["id", "title", "definition", "segments", "detector", "threshold", "calibration", "summary", "features"]
    assert [key for key in keys if key in order] == order
    names = load_labels(loaded.path.with_name(LABELS_FILE))[0].names  # come before the labels of the set's own file
    shown = {f["index"]: f["label"] for f in yaml.safe_load(text)["features"] if f["index"] not in names}
    assert shown.items() <= {f.index: f.label for f in loaded.set.features}.items()


@pytest.mark.parametrize("loaded", SETS, ids=lambda s: s.set.id)
def test_the_scores_of_names_follow_from_the_verdicts(loaded: LoadedSet) -> None:
    labels, _ = load_labels(loaded.path.with_name(LABELS_FILE))
    scored = {i for i in loaded.shipped.indices() if i in labels.names and labels.names[i].score is not None}
    key = loaded.path.parent / "labels" / f"{loaded.path.stem}.key.jsonl"
    verdicts = key.with_name(f"{loaded.path.stem}.verdicts.jsonl")
    found = label_scores(load_key(key), load_verdicts(verdicts), labels.names) if key.is_file() else {}
    for index in scored & set(found):
        assert labels.names[index].score == found[index]
    assert set(found) <= scored
    ours = {i for i in scored if not labels.names[i].origin}
    judged = {line.index for path in key.parent.glob("*.key.jsonl") for line in load_key(path)}
    assert ours <= judged, "a score that no verdict supports"


@pytest.mark.parametrize("loaded", SETS, ids=lambda s: s.set.id)
def test_every_named_feature_has_a_card_from_own_texts(loaded: LoadedSet) -> None:
    cards = load_cards(loaded.path.parent)
    own = {path.name for path in CONTRASTS}
    for feature in loaded.set.features:
        if feature.named:
            card = cards[feature.index]
            assert card.sae_sha256 == loaded.set.reader.sae.sha256
            assert card.firing.keys() == {"risky", "harmless", "benign"}
            assert card.contexts, f"{feature.index} is active on no text"
            assert {Path(context.file).name for context in card.contexts} <= own
    page = (loaded.path.parent / PAGE_FILE).read_text()
    assert all(f'<a id="feature-{feature.index}">' in page for feature in loaded.set.features if feature.named)


@pytest.mark.parametrize("loaded", SETS, ids=lambda s: s.set.id)
def test_a_set_that_is_near_chance_pages_nobody(loaded: LoadedSet) -> None:
    used = loaded.set
    if near_chance(used.metrics):
        assert used.severity == "low"
        assert used.escalations == ()
        assert any("hardly better than chance" in gap for gap in used.known_gaps)


def test_deception_is_near_chance() -> None:
    assert [s.set.id for s in SETS if near_chance(s.set.metrics)] == ["deception"]


@pytest.mark.parametrize("loaded", SETS, ids=lambda s: s.set.id)
def test_the_lock_knows_this_version_of_its_files(loaded: LoadedSet) -> None:
    lock = yaml.safe_load((loaded.path.parent / "sets.lock").read_text())
    assert lock[loaded.set.id] == {"sha256": loaded.sha256, "version": loaded.set.version}, (
        f"{loaded.path} or a file next to it has changed: give the set a new version and enter both in sets.lock"
    )


def test_the_sae_is_the_one_that_the_sets_name() -> None:
    folder = SETS[0].sae_folder
    found = hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest()
    assert {s.set.reader.sae.sha256 for s in SETS} == {found}
    weights = load_saelens(folder)
    assert (weights.architecture, weights.k, weights.d_in, weights.d_sae) == ("jumprelu", None, 576, 10240)


def test_reference_activations_lie_next_to_the_sae() -> None:
    folder = SETS[0].sae_folder
    check = ReferenceCheck.in_folder(folder, SETS[0].set.reader)
    assert check is not None, f"run `latentwatch lab reference {SETS[0].path.parent}`"
    assert check.path.stat().st_size < 200_000


@pytest.mark.parametrize(
    ("document", "tables", "which"),
    [("README.md", (summary_table,), "summary"), ("docs/results.md", (figures_table, false_positive_table), "full")],
)
def test_documents_show_the_figures_of_the_files(
    document: str, tables: tuple[Callable[[Iterable[FeatureSet]], str], ...], which: str
) -> None:
    text = (ROOT / document).read_text()
    for table in tables:
        assert table([s.set for s in SETS]) in text, f"put what `latentwatch sets list --markdown {which}` prints here"


@pytest.mark.parametrize("loaded", SETS, ids=lambda s: s.set.id)
def test_the_shipped_kind_is_the_one_that_was_chosen(loaded: LoadedSet) -> None:
    kind = "with_probe_auroc" if loaded.set.detector == "probe" else "weighted_auroc"
    assert all(m.auroc == getattr(m, kind) for m in loaded.set.metrics.values())


@pytest.mark.parametrize("path", CONTRASTS, ids=lambda p: p.stem)
def test_contrasts_are_whole(path: Path) -> None:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len({r["id"] for r in rows}) == len(rows)
    pairs: dict[str, list[int]] = {}
    for row in rows:
        assert row["label"] in (0, 1)
        assert row.get("prompt") or row.get("messages") or row["response"]
        assert row["category"] == path.stem.rstrip("_0123456789")
        if row.get("pair"):
            pairs.setdefault(row["pair"], []).append(row["label"])
    assert all(sorted(labels) == [0, 1] for labels in pairs.values())
    alone = Counter(row["label"] for row in rows if not row.get("pair"))
    line = f"| {path.name} | {len(rows)} | {len(pairs)} | {alone[0]} |"
    assert line in (path.parent / "README.md").read_text()


def test_every_category_has_cases() -> None:
    assert {p.stem for p in CASES} == CATEGORIES | {f"{c}_twins" for c in CATEGORIES} | {"bias_languages"}


@pytest.mark.parametrize("path", CASES, ids=lambda p: p.stem)
def test_cases_are_whole(path: Path) -> None:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len({r["id"] for r in rows}) == len(rows)
    for row in rows:
        assert row["label"] in (0, 1)
        assert row["label_of"] in ("prompt", "response", "text")
        assert row["response"] if row["label_of"] == "response" else row["prompt"] or row["response"]
        assert row["kind"]
        assert ("language" in row) == (path.stem == "bias_languages")
    pairs: dict[str, list[int]] = {}
    for row in rows:
        pairs.setdefault(row.get("pair", row["id"]), []).append(row["label"])
    if path.stem.endswith("_twins"):
        assert sorted(max(pairs.values(), key=len)) == [0, 1]
        assert all(labels in ([1, 0], [0, 1], [0]) for labels in pairs.values())
    labels = Counter(row["label"] for row in rows)
    line = f"| {path.name} | {len(rows)} | {labels[1]} | {labels[0]} |"
    assert line in (path.parent / "README.md").read_text()


def test_no_case_is_among_the_contrasts() -> None:
    def texts(paths: list[Path]) -> set[tuple[str, str]]:
        rows = [json.loads(line) for p in paths for line in p.read_text().splitlines()]
        asked = [r.get("prompt") or " ".join(m["content"] for m in r.get("messages", ())) for r in rows]
        return {(a.strip().lower(), r["response"].strip().lower()) for a, r in zip(asked, rows, strict=True)}

    assert not texts(CASES) & texts(CONTRASTS)
