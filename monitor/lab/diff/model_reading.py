"""ModelReading: what one SAE and the sets see of texts in one model, text by text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from detectors.feature_set import SegmentName
from monitor.assembly.artefacts import ModelArtefacts
from monitor.assembly.engine import build_policy, window_reader
from monitor.assembly.tokeniser import build_tokeniser
from monitor.config.sections import Config
from monitor.errors import ConfigError
from monitor.lab.change_test import Floats
from monitor.lab.data.rows import LabelledRow
from monitor.lab.reading.residual_reader import residual_reader
from monitor.lab.sae_training.sae_figures import SaeFigures, WholeSae
from monitor.model.files import ModelFiles
from monitor.readers.cut_model import usable_device
from monitor.report.shading import Run, Window, shaded, strongest_window, whole_words
from monitor.sae.encoder import CuratedEncoder
from monitor.sae.probed_encoder import ProbedEncoder
from monitor.tokens.tokeniser import Tokenised

_AT_ONCE = 32  # texts
_CONTEXT_CHARS = 240


@dataclass(frozen=True)
class ModelReading:
    """Of each text the sets' scores and the SAE's latents, and how well the SAE fits all of them."""

    scores: dict[str, Floats]
    """By set id [text]; NaN if the set looks at nothing of a text."""
    latents: NDArray[np.float32]
    """Mean activation over the text's judged segment [text, s]; NaN if it has no tokens."""
    fit: dict[str, Any]
    """As SaeFigures has it: fvu, l0, never_active_share and others."""

    def without(self, missing: NDArray[np.bool_]) -> ModelReading:
        """The same with NaN for the texts `missing` [text]."""
        scores = {set_id: np.where(missing, math.nan, values) for set_id, values in self.scores.items()}
        return replace(self, scores=scores, latents=np.where(missing[:, None], np.float32(math.nan), self.latents))


class OpenedModel:
    """A model at the hook point of the sets, with the SAE, the sets and the tokeniser of the model they belong to."""

    def __init__(self, config: Config, artefacts: ModelArtefacts, files: ModelFiles) -> None:
        """`files` may be another model than that of the sets, if only it has the same width and tokens.

        Raises ConfigError if it doesn't, or if the SAE has no decoder to measure its fit with.
        """
        ref, sae = artefacts.ref, artefacts.sae
        tokeniser = build_tokeniser(config, artefacts.model)
        reader = residual_reader(config, files.folder, ref.layer, ref.hook)
        if reader.d_model != sae.d_in:
            raise ConfigError(
                f"{files.folder}: its residual stream has width {reader.d_model}, but the SAE is for {sae.d_in}; "
                "only models tuned from the same base can be compared"
            )
        tokeniser.limit(reader.vocabulary)
        self._tokeniser = tokeniser
        self._reader = window_reader(config, tokeniser, reader)
        self._policy = build_policy(config, artefacts.sets, artefacts.columns)
        device = usable_device(config.reader.device)
        encoder = CuratedEncoder(sae, range(sae.d_sae), ref.sae.activation_basis, device)
        self._encode = ProbedEncoder(encoder, artefacts.probes, sae.d_in) if artefacts.probes else encoder
        self._columns = [*artefacts.latents, *range(sae.d_sae, sae.d_sae + len(artefacts.probes))]
        self._width, self._d = sae.d_sae, sae.d_in
        self._max_norm = ref.max_norm
        self._whole_sae = WholeSae(artefacts.sets[0].sae_folder, config.reader.device)

    def read(self, rows: Sequence[LabelledRow]) -> ModelReading:
        """Reads the segment of each row that its label is about: its response, if there is one."""
        figures = SaeFigures(self._whole_sae)
        scores: dict[str, list[float]] = {}
        latents = np.full((len(rows), self._width), math.nan, np.float32)
        for start in range(0, len(rows), _AT_ONCE):
            part = rows[start : start + _AT_ONCE]
            items = self._tokeniser.tokenise([row.event(start + n) for n, row in enumerate(part)])
            found = self._reader.read([item.ids for item in items], self._d)
            for n, (item, (residual, _)) in enumerate(zip(items, found, strict=True)):
                values, usual = self._activations(residual)
                for set_id, score in self._policy.scores(item, values[:, self._columns]).items():
                    scores.setdefault(set_id, []).append(math.nan if score is None else score.value)
                judged = _tokens(item, part[n].labelled_segment)
                if judged.size:
                    latents[start + n] = values[judged, : self._width].mean(axis=0)
                    figures.add(torch.from_numpy(residual[judged[usual[judged]]]))
        by_set = {set_id: np.array(values, np.float64) for set_id, values in scores.items()}
        return ModelReading(by_set, latents, figures.result())

    def context(self, row: LabelledRow, latent: int) -> Window:
        """The part of the row's judged text in which `latent` is strongest, shaded by its activation."""
        (item,) = self._tokeniser.tokenise([row.event(0)])
        ((residual, _),) = self._reader.read([item.ids], self._d)
        values = self._activations(residual)[0][:, latent]
        name = row.labelled_segment
        of, tokens = [(s, t) for s, t in zip(item.segments, item.rows, strict=True) if s.name == name][-1]
        highest = float(values[tokens].max(initial=0.0)) or 1.0
        spans = [
            (*of.own_span(int(item.starts[t]), int(item.ends[t])), float(values[t]) / highest) for t in tokens.tolist()
        ]
        runs: tuple[Run, ...] = shaded(of.text, spans)
        return whole_words(strongest_window(runs, _CONTEXT_CHARS))

    def _activations(self, residual: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Activations and projections [token, s + probe], and whether the norm of a token is usual [token].

        Columns of other tokens are 0, as readers have it.
        """
        x = torch.from_numpy(residual)
        values: NDArray[np.float32] = self._encode(x).cpu().numpy()
        usual = np.ones(residual.shape[0], np.bool_)
        if self._max_norm is not None:
            usual = np.linalg.norm(residual, axis=1) <= self._max_norm
            values[~usual] = 0
        return values, usual


def _tokens(item: Tokenised, name: SegmentName) -> NDArray[np.int64]:
    """The tokens of all segments of that name."""
    found = [rows for segment, rows in zip(item.segments, item.rows, strict=True) if segment.name == name]
    return np.concatenate(found) if found else np.empty(0, np.int64)
