"""Presidio as it is installed: what it finds without a model, and what is left to our own patterns."""

from __future__ import annotations

import builtins
import importlib.util
from typing import Any

import pytest

from monitor.alerts.redactor import Redactor
from monitor.config.redact import RedactConfig
from monitor.errors import ConfigError

installed = pytest.mark.skipif(
    importlib.util.find_spec("presidio_analyzer") is None, reason="pip install 'latentwatch[presidio]' to run this test"
)


@pytest.fixture(scope="module")
def redactor() -> Redactor:
    return Redactor.of(RedactConfig(patterns=(), presidio=True))


@installed
@pytest.mark.filterwarnings("ignore")  # of spaCy's dependencies
def test_what_it_knows_is_written_over_far_into_a_text(redactor: Redactor) -> None:
    # a card across the border between two pieces, and a wallet behind it
    before = "x " * 4_995
    card, wallet = "4111111111111111", "1BoatSLRHtKNngkdXEeobR76b53LETtpyT"
    text = f"{before}{card} and {wallet}."
    shown = redactor.redacted(text)
    assert shown == f"{before}[personal******] and [personal{'*' * 24}]."


@installed
@pytest.mark.filterwarnings("ignore")
def test_addresses_of_pages_and_dates_stay(redactor: Redactor) -> None:
    text = "See https://example.com/docs from 2024-11-30, or ask."
    assert redactor.redacted(text) == text


def test_without_it_the_start_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *args: Any) -> Any:
        if name.startswith("presidio_analyzer"):
            raise ImportError(name)
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ConfigError, match=r"alerts\.redact\.presidio .*pip install 'latentwatch\[presidio\]'"):
        Redactor.of(RedactConfig(presidio=True))
