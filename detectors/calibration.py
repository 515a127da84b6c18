"""Calibration: how a set's threshold was chosen, and the false-positive rate measured with it."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from pydantic import Field

from detectors.frozen_model import ActivationBasis, FrozenModel


class Calibration(FrozenModel):
    """The benign texts that set the threshold, and the false-positive rate measured on others."""

    benign: str
    """Which texts set the threshold."""
    n: Annotated[int, Field(gt=0)]
    target_fpr: Annotated[float, Field(gt=0, lt=1)]
    measured_fpr: Annotated[float, Field(ge=0, le=1)]
    """On benign texts that did not set the threshold."""
    measured_n: Annotated[int, Field(gt=0)]
    interval_95: tuple[float, float]
    escalation_fpr: Annotated[float, Field(ge=0, le=1)] | None = None
    """The share of the same texts whose score raises the severity; None if no score does."""
    date: date
    unit: str | None = None
    """What the threshold is compared with: logistic, activation, or activation/threshold."""
    activation_basis: ActivationBasis | None = None
    """The basis of the activations in the score."""
