"""Batches: which windows go through the model together."""

from __future__ import annotations

from collections.abc import Sequence


def token_budgeted(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Groups positions of `lengths` so that no batch, padded to its longest, has more than `budget` tokens.

    Similar lengths share a batch, which keeps padding small. A length over the budget gets its own batch.
    """
    batches: list[list[int]] = []
    for position in sorted(range(len(lengths)), key=lambda p: lengths[p]):
        # lengths ascend, so the new one is the longest of its batch
        if batches and (len(batches[-1]) + 1) * lengths[position] <= budget:
            batches[-1].append(position)
        else:
            batches.append([position])
    return batches
