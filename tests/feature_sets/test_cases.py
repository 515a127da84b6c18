"""The shipped sets on the regression cases: none does worse than when that was last recorded."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import pytest

from monitor.assembly.artefacts import load_artefacts
from monitor.assembly.build import reader_options
from monitor.assembly.engine import assemble_engine
from monitor.assembly.tokeniser import build_tokeniser
from monitor.config.load import load_config
from monitor.lab.data.chosen_sets import as_shipped
from monitor.lab.data.rows import LabelledRow
from monitor.lab.evaluation.case_record import RECORD_FILE, CaseRecord
from monitor.lab.evaluation.cases import judge_cases
from monitor.lab.reading.row_reader import row_scores
from monitor.lab.statistics import Floats
from monitor.readers.onnx.bundle import Bundle

pytestmark = pytest.mark.model


def test_no_set_does_worse_than_recorded(reader_bundle: Bundle) -> None:
    config = as_shipped(load_config(None, os.environ))
    artefacts = load_artefacts(config)
    # the reader in float32, which decides in the sidecar whatever comes near a threshold
    reader = reader_bundle.exact_reader(artefacts.columns, **reader_options(config))
    assert reader is not None
    engine = assemble_engine(config, artefacts, build_tokeniser(config, artefacts.model), reader)

    def score(rows: Sequence[LabelledRow], _name: str) -> dict[str, Floats]:
        return {set_id: np.array(scores) for set_id, scores in row_scores(engine, rows).items()}

    records = {loaded.path.with_name(RECORD_FILE) for loaded in artefacts.sets}
    assert len(records) == 1
    record = CaseRecord.load(records.pop())
    assert set(record.sets) == {loaded.set.id for loaded in artefacts.sets}
    problems = record.steps_back(judge_cases(artefacts.sets, score))
    assert not problems, "\n".join(problems)
