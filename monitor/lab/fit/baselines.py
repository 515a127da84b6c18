"""Baselines: what a team would try first, fitted on the same rows as a set."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.naive_bayes import MultinomialNB

_WORD_OR_SIGN = r"\w+|[^\w\s]"


def word_only_scores(
    texts: Sequence[str], labels: NDArray[np.int64], weights: NDArray[np.float64]
) -> Callable[[Sequence[str]], NDArray[np.float64]]:
    """Naive Bayes on which words and punctuation marks occur. Returns a function from texts to log odds."""
    vectorizer = CountVectorizer(min_df=2, binary=True, max_features=30_000, token_pattern=_WORD_OR_SIGN)
    model = MultinomialNB().fit(vectorizer.fit_transform(texts), labels, sample_weight=weights)

    def score(new: Sequence[str]) -> NDArray[np.float64]:
        log_probability = model.predict_log_proba(vectorizer.transform(new))
        odds: NDArray[np.float64] = log_probability[:, 1] - log_probability[:, 0]
        return odds

    return score
