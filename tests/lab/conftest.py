"""A small model and texts that the lab tests share."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tests.lab.small_llama import WORDS, save_small_llama


@pytest.fixture(scope="session")
def small_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a model with two blocks."""
    return save_small_llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of chats, as rows, and of plain text."""
    folder = tmp_path_factory.mktemp("texts")
    draw = random.Random(5)  # noqa: S311 - texts, not secrets

    def words(count: int) -> str:
        return " ".join(draw.choice(WORDS) for _ in range(count))

    rows = [{"id": f"r{n}", "prompt": words(4 + n % 9), "response": words(n % 50)} for n in range(60)]
    (folder / "chats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "not JSON\n")
    (folder / "code").mkdir()
    for n in range(20):
        (folder / "code" / f"{n}.py").write_text("\n".join(words(12) for _ in range(n)) or "w1")
    return folder
