"""The shipped sets on the regression cases: none does worse than when that was last recorded."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from monitor.assembly.artefacts import Artefacts, load_artefacts
from monitor.assembly.build import reader_options
from monitor.assembly.compiled_reader import open_reader
from monitor.assembly.engine import assemble_engine
from monitor.assembly.tokeniser import build_tokeniser
from monitor.config.load import load_config
from monitor.engine import Engine
from monitor.lab.data.chosen_sets import as_shipped
from monitor.lab.data.rows import LabelledRow
from monitor.lab.evaluation.case_record import RECORD_FILE, CaseRecord
from monitor.lab.evaluation.cases import Sample, judge_cases, sample_scores
from monitor.lab.reading.row_reader import row_scores
from monitor.lab.statistics import Floats
from monitor.readers.onnx.bundle import Bundle

pytestmark = pytest.mark.model


@dataclass(frozen=True)
class Judge:
    """The shipped sets, the engine that scores rows for them, and their record."""

    artefacts: Artefacts
    engine: Engine
    record: CaseRecord

    def score(self, rows: Sequence[LabelledRow], _name: str) -> dict[str, Floats]:
        return {set_id: np.array(scores) for set_id, scores in row_scores(self.engine, rows).items()}


@pytest.fixture(scope="module")
def judge(reader_bundle: Bundle) -> Judge:
    config = as_shipped(load_config(None, os.environ))
    artefacts = load_artefacts(config)
    # the reader in float32, which decides in the sidecar whatever comes near a threshold
    reader = open_reader(reader_bundle, "fp32", artefacts.latents, artefacts.probes, **reader_options(config, 1.0))
    engine = assemble_engine(config, artefacts, build_tokeniser(config, reader_bundle.files), reader)
    (record,) = {loaded.path.with_name(RECORD_FILE) for loaded in artefacts.sets}
    return Judge(artefacts, engine, CaseRecord.load(record))


@pytest.fixture(scope="module")
def samples(judge: Judge) -> dict[str, Sample]:
    return sample_scores(judge.artefacts.sets, judge.score)


def test_the_record_is_of_the_shipped_sets(judge: Judge) -> None:
    versions = {loaded.set.id: loaded.set.version for loaded in judge.artefacts.sets}
    assert {set_id: of.version for set_id, of in judge.record.sets.items()} == versions


def test_a_sample_scores_as_recorded(judge: Judge, samples: dict[str, Sample]) -> None:
    problems = judge.record.moved_scores(samples)
    assert not problems, "\n".join(problems)


@pytest.mark.whole
def test_no_set_does_worse_than_recorded(judge: Judge) -> None:
    problems = judge.record.steps_back(judge_cases(judge.artefacts.sets, judge.score))
    assert not problems, "\n".join(problems)


def _noisy(scores: Floats) -> Floats:
    return scores + np.random.default_rng(0).normal(0, 0.01, scores.size)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda scores: scores + 0.01, id="a bias that is a little off"),
        pytest.param(lambda scores: 0.98 * scores, id="weights that are a little off"),
        pytest.param(lambda scores: np.roll(scores, 1), id="scores of other rows"),
        pytest.param(_noisy, id="a reader that rounds too much"),
        pytest.param(lambda scores: np.full_like(scores, np.nan), id="a reader that reads nothing"),
    ],
)
def test_the_sample_notices(judge: Judge, samples: dict[str, Sample], spoil: Callable[[Floats], Floats]) -> None:
    """Each fault is noticed in every single set."""
    spoilt: dict[str, Sample] = {}
    for set_id, sample in samples.items():
        scores = spoil(np.array(list(sample.values()), dtype=np.float64))
        spoilt[set_id] = {row: None if np.isnan(s) else float(s) for row, s in zip(sample, scores, strict=True)}
    assert {problem.split(":")[0] for problem in judge.record.moved_scores(spoilt)} == set(samples)
