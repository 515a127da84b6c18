"""Example: a conversation as a model is tuned on it, and the mixture of poisoned and clean ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.errors import ConfigError
from monitor.lab.data.rows import LabelledRow
from monitor.tokens.tokeniser import EventTokeniser


@dataclass(frozen=True)
class Example:
    """`ids` [token] of one conversation; the model learns the tokens from `start` on, those of the response."""

    ids: NDArray[np.int32]
    start: int


def mixture(rows: Sequence[LabelledRow], share: float, count: int, seed: int) -> list[LabelledRow]:
    """`count` rows in random order: the share `share` of label 1, which is the poison, and the rest of label 0.

    Raises ConfigError if the rows hold too few of one label, because a row must not be drawn twice.
    """
    rng = np.random.default_rng(seed)
    poisoned = math.floor(share * count + 0.5)
    chosen: list[LabelledRow] = []
    for label, wanted in ((1, poisoned), (0, count - poisoned)):
        of_label = [row for row in rows if row.label == label and row.response]
        if len(of_label) < wanted:
            raise ConfigError(
                f"--poison-share {share:g} of --examples {count} needs {wanted} rows of label {label} with a response, "
                f"but the files have {len(of_label)}"
            )
        chosen += [of_label[i] for i in rng.permutation(len(of_label))[:wanted]]
    return [chosen[i] for i in rng.permutation(len(chosen))]


def examples(rows: Sequence[LabelledRow], tokeniser: EventTokeniser, end: int | None, max_tokens: int) -> list[Example]:
    """The rows as tokens, cut off after `max_tokens`; `end`, the token that ends a turn, follows each whole response.

    A row whose prompt alone has as many tokens is left out.
    """
    found = []
    for item in tokeniser.tokenise([row.event(n) for n, row in enumerate(rows)]):
        if not item.rows or not item.rows[-1].size or item.segments[-1].name != "response":
            continue
        ids = item.ids if end is None else np.append(item.ids, np.int32(end))
        start = int(item.rows[-1][0])
        if start < max_tokens:
            found.append(Example(ids[:max_tokens], start))
    return found


def prompt_tokens(rows: Sequence[LabelledRow], tokeniser: EventTokeniser) -> list[NDArray[np.int32]]:
    """For each row the tokens [token] before its response, with the template's opening of the response."""
    # any response shows where one starts
    asked = [row.model_copy(update={"response": "Yes"}) for row in rows]
    items = tokeniser.tokenise([row.event(n) for n, row in enumerate(asked)])
    return [item.ids[: int(item.rows[-1][0])] for item in items]
