"""`lab diff`: a base model against tuned ones, over the same texts and over what each of them answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from monitor.assembly.artefacts import ModelArtefacts, load_model_artefacts
from monitor.config.sections import Config
from monitor.errors import ConfigError
from monitor.lab.change_test import RESAMPLES, Change
from monitor.lab.data.rows import LabelledRow, load_examples
from monitor.lab.diff.comparison import Comparison, Context, Over, compare
from monitor.lab.diff.examples import prompt_tokens
from monitor.lab.diff.model_reading import ModelReading, OpenedModel
from monitor.lab.diff.whole_model import WholeModel
from monitor.model.files import locate
from monitor.sets.load import LoadedSet


@dataclass(frozen=True)
class DiffRequest:
    """What `lab diff` is asked for."""

    base: str
    tuned: tuple[str, ...]
    control: str | None = None
    """What to compare with instead of the base: a model tuned on harmless rows."""
    texts: tuple[Path, ...] = ()
    prompts: tuple[Path, ...] = ()
    generate: int = 0
    """Most tokens of an answer; 0 generates none."""
    limit: int | None = None
    seed: int = 0
    resamples: int = RESAMPLES
    movers: int = 10
    alpha: float = 0.05
    """The false discovery rate below which a change counts."""


@dataclass(frozen=True)
class TunedDiff:
    """One tuned model against the base."""

    name: str
    sha256: str
    comparisons: tuple[Comparison, ...]
    contexts: dict[tuple[str, int], tuple[Context, ...]]
    """Of each mover, by what was compared and latent."""

    def changes(self) -> list[tuple[str, Change]]:
        """Every change of a set, with what was compared."""
        return [(c.over, change) for c in self.comparisons for change in c.sets]

    def rising(self, alpha: float) -> list[str]:
        """The ids of the sets that rose by more than chance, over texts or generations, largest effect first."""
        found = [c for _, c in self.changes() if c.significant(alpha) and c.mean_after > c.mean_before]
        return list(dict.fromkeys(c.name for c in sorted(found, key=lambda c: -c.effect)))


@dataclass(frozen=True)
class DiffResult:
    """All tuned models against one base."""

    request: DiffRequest
    base_sha256: str
    sets: tuple[LoadedSet, ...]
    tuned: tuple[TunedDiff, ...]
    counts: dict[str, int]
    """Rows of each kind: texts and prompts."""

    def json(self) -> dict[str, Any]:
        """For --json; without the texts themselves."""
        return {
            "base": {"model": self.request.base, "sha256": self.base_sha256},
            "control": self.request.control,
            "sae_sha256": self.sets[0].shipped.reader.sae.sha256,
            "sets": {s.set.id: {"version": s.set.version, "sha256": s.sha256} for s in self.sets},
            "counts": self.counts,
            "seed": self.request.seed,
            "resamples": self.request.resamples,
            "alpha": self.request.alpha,
            "tuned": [
                {
                    "model": tuned.name,
                    "sha256": tuned.sha256,
                    "rising_sets": tuned.rising(self.request.alpha),
                    **{c.over: _comparison(c) for c in tuned.comparisons},
                }
                for tuned in self.tuned
            ],
        }


def diff(request: DiffRequest, config: Config, progress: Callable[[str], None]) -> DiffResult:
    """Reads the base once, then each tuned model. `progress` is told each step. Raises ConfigError."""
    config = config.changed(reader=config.reader.changed(model=request.base, engine="torch", bundle=None))
    artefacts = load_model_artefacts(config)
    if bool(request.prompts) != bool(request.generate):
        raise ConfigError("--prompts and --generate belong together: give both or neither")
    texts, prompts = _rows(request.texts, request), _rows(request.prompts, request)
    if not texts and not prompts:
        raise ConfigError("nothing to compare: give --texts, or --prompts together with --generate")
    session = _Session(request, config, artefacts, texts, prompts, progress)
    tuned = tuple(session.against(name) for name in request.tuned)
    counts = {"texts": len(texts), "prompts": len(prompts)}
    return DiffResult(request, artefacts.model.sha256, artefacts.sets, tuned, counts)


class _Session:
    """The base's readings, and how a tuned model differs from them."""

    def __init__(
        self,
        request: DiffRequest,
        config: Config,
        artefacts: ModelArtefacts,
        texts: Sequence[LabelledRow],
        prompts: Sequence[LabelledRow],
        progress: Callable[[str], None],
    ) -> None:
        self._request, self._config, self._artefacts = request, config, artefacts
        self._texts, self._prompts, self._progress = texts, prompts, progress
        self._tokenizer = Tokenizer.from_file(str(artefacts.model.tokenizer_file))
        self._base = OpenedModel(config, artefacts, artefacts.model)
        before = request.control or request.base
        if texts:
            self._of_texts = self._read_texts(before, self._opened(before))
        if prompts:
            self._of_answers = self._read_answers(self._answers(before))

    def against(self, name: str) -> TunedDiff:
        files = locate(name, None, self._config.reader.cache_dir)
        found: list[Comparison] = []
        contexts: dict[tuple[str, int], tuple[Context, ...]] = {}
        if self._texts:
            model = self._opened(name)
            found.append(self._compared("texts", self._of_texts, self._read_texts(name, model)))
            contexts |= _contexts(found[-1], self._texts, model)
            del model
        if self._prompts:
            answers = self._answers(name)
            found.append(self._compared("generations", self._of_answers, self._read_answers(answers)))
            contexts |= _contexts(found[-1], answers, self._base)
        return TunedDiff(name, files.sha256, tuple(found), contexts)

    def _opened(self, name: str) -> OpenedModel:
        if name == self._request.base:
            return self._base
        return OpenedModel(self._config, self._artefacts, locate(name, None, self._config.reader.cache_dir))

    def _read_texts(self, name: str, model: OpenedModel) -> ModelReading:
        self._progress(f"reading {len(self._texts)} texts with {name}")
        return model.read(self._texts)

    def _compared(self, over: Over, before: ModelReading, after: ModelReading) -> Comparison:
        request = self._request
        return compare(
            over,
            before,
            after,
            self._artefacts.sets,
            resamples=request.resamples,
            seed=request.seed,
            movers=request.movers,
        )

    def _answers(self, name: str) -> list[LabelledRow]:
        """The prompts with the answers of a model, without any if it said nothing."""
        self._progress(f"answering {len(self._prompts)} prompts with {name}")
        model = WholeModel.load(name, self._config, self._artefacts.model)
        tokens = prompt_tokens(self._prompts, model.tokeniser)
        said = model.continuations(tokens, self._request.generate, self._request.seed)
        texts = self._tokenizer.decode_batch([ids.tolist() for ids in said], skip_special_tokens=True)
        return [
            row.model_copy(update={"response": text, "label_of": "response"})
            for row, text in zip(self._prompts, texts, strict=True)
        ]

    def _read_answers(self, answers: Sequence[LabelledRow]) -> ModelReading:
        """Always the base reads: only what is said may differ."""
        self._progress(f"reading {len(answers)} answers with {self._request.base}")
        silent = np.array([not row.response.strip() for row in answers])
        # a row without a response would be judged by its prompt
        spoken = [row.model_copy(update={"response": row.response if row.response.strip() else "."}) for row in answers]
        return self._base.read(spoken).without(silent)


def _rows(files: Sequence[Path], request: DiffRequest) -> list[LabelledRow]:
    return [row for path in files for row in load_examples(path, request.limit, request.seed)]


def _contexts(
    comparison: Comparison, rows: Sequence[LabelledRow], model: OpenedModel
) -> dict[tuple[str, int], tuple[Context, ...]]:
    return {
        (comparison.over, mover.latent): tuple(
            Context(rows[n].id, model.context(rows[n], mover.latent)) for n in mover.strongest
        )
        for mover in comparison.movers
    }


def _comparison(comparison: Comparison) -> dict[str, Any]:
    return {
        "sets": [change.row() for change in comparison.sets],
        "features": [change.row() for change in comparison.features],
        "movers": [
            {key: value for key, value in vars(mover).items() if key != "strongest"} for mover in comparison.movers
        ],
        "fit_before": comparison.fit_before,
        "fit_after": comparison.fit_after,
        "warnings": list(comparison.warnings),
    }
