"""RowReader: scores of labelled rows from the real engine, and all their latents and residuals."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from monitor.assembly.artefacts import load_model_artefacts
from monitor.assembly.build import build_engine
from monitor.assembly.engine import window_reader
from monitor.assembly.tokeniser import build_tokeniser
from monitor.config.sections import Config
from monitor.engine import Engine
from monitor.lab.data.rows import LabelledRow
from monitor.lab.reading.progress import row_progress
from monitor.lab.reading.residual_reader import hook_key, residual_reader
from monitor.lab.reading.segment_table import SegmentReader, SegmentTable
from monitor.readers.cut_model import usable_device
from monitor.sae.encoder import CuratedEncoder

_AT_ONCE = 64


class RowReader:
    """Reads rows with the model and the SAE that the sets of a config name."""

    def __init__(self, config: Config, console: Console, cache: Path | None = None) -> None:
        """`table` keeps its results in the folder `cache`. Raises ConfigError if model, SAE and sets don't match.

        Always reads with torch, whatever engine the config names. A compiled reader with less precision hands every
        score near a threshold to an exact one, so the exact scores decide in the sidecar, too.
        """
        settings = config.reader.changed(engine="torch", bundle=None)
        config = config.changed(reader=settings)
        self._config = config
        self._console = console
        self._cache = cache
        self.artefacts = load_model_artefacts(config)

    def scores(self, rows: Sequence[LabelledRow], name: str) -> dict[str, NDArray[np.float64]]:
        """For each set the score [row] that the sidecar would give; NaN if the set sees nothing of a row."""
        found: dict[str, list[float]] = {loaded.set.id: [] for loaded in self.artefacts.sets}
        with row_progress(self._console) as progress:
            task = progress.add_task(f"scoring {name}", total=len(rows))
            for start in range(0, len(rows), _AT_ONCE):
                part = rows[start : start + _AT_ONCE]
                for set_id, scores in row_scores(self._engine, part, start).items():
                    found[set_id] += scores
                progress.advance(task, len(part))
        return {set_id: np.array(values, dtype=np.float64) for set_id, values in found.items()}

    def table(self, rows: Sequence[LabelledRow], name: str) -> SegmentTable:
        """All latents and the residual stream, pooled over each segment of the rows."""
        with row_progress(self._console) as progress, torch.inference_mode():
            task = progress.add_task(f"reading {name}", total=len(rows))
            return self._segments.read(rows, lambda count: progress.advance(task, count))

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has as a response, without the template's own."""
        rows = [LabelledRow(response=text, label=0) for text in texts]
        items = build_tokeniser(self._config, self.artefacts.model).tokenise([r.event(n) for n, r in enumerate(rows)])
        return [sum(part.size for part in item.rows) for item in items]

    @cached_property
    def _engine(self) -> Engine:
        return build_engine(self._config, self.artefacts)

    @cached_property
    def _segments(self) -> SegmentReader:
        settings, artefacts = self._config.reader, self.artefacts
        ref, sae = artefacts.ref, artefacts.sae
        tokeniser = build_tokeniser(self._config, artefacts.model)
        reader = residual_reader(self._config, artefacts.model.folder, ref.layer, ref.hook)
        device = usable_device(settings.device)
        return SegmentReader(
            reader=window_reader(self._config, tokeniser, reader),
            d_model=reader.d_model,
            encoder=CuratedEncoder(sae, range(sae.d_sae), ref.sae.activation_basis, device),
            tokeniser=tokeniser,
            max_norm=ref.max_norm,
            key=f"{ref.model_sha256} {ref.sae.sha256} {ref.sae.activation_basis} {hook_key(ref)} {settings.dtype}",
            folder=self._cache,
        )


def row_scores(engine: Engine, rows: Sequence[LabelledRow], start: int = 0) -> dict[str, list[float]]:
    """For each set of `engine` the score [row]; NaN if the set sees nothing of a row."""
    found: dict[str, list[float]] = {}
    for scores in engine.scores([row.event(start + n) for n, row in enumerate(rows)]):
        for set_id, score in scores.items():
            found.setdefault(set_id, []).append(np.nan if score is None else score.value)
    return found
