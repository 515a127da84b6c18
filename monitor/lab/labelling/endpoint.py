"""JudgeEndpoint: asks an OpenAI-compatible server the questions about labels."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests

from monitor.errors import ConfigError
from monitor.lab.labelling.held_back import CLOSE, OPEN
from monitor.lab.labelling.judging import Question, Verdict

_TIMEOUT_S = 120.0
_TRIES = 4
_PAUSE_S = 2.0
"""Before the second try; doubles with every further one."""
_MAX_ANSWER_BYTES = 1_000_000
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_DETECTION = (
    "A label describes a kind of text. Say whether the text below fits the label. The text is a piece of a longer one."
)
_FUZZING = (
    f"A label describes a kind of text. In the text below, words stand between {OPEN} and {CLOSE}. Say whether just "
    "these words are what the label describes."
)


@dataclass(frozen=True)
class JudgeEndpoint:
    """A server with POST /chat/completions below `url`, and the model that judges."""

    url: str
    model: str
    key: str | None = None
    """Sent as a bearer token."""

    def __post_init__(self) -> None:
        place = urlsplit(self.url)
        if place.scheme not in ("http", "https") or not place.hostname:
            raise ConfigError(f"--endpoint: {self.url}: must begin with http:// or https:// and a host name")
        if self.key is not None and place.scheme == "http" and place.hostname not in _LOOPBACK:
            raise ConfigError(f"--endpoint: {self.url}: a key is only sent over https, or to this machine")

    def verdicts(
        self, asked: Sequence[Question], progress: Callable[[int], None] = lambda _: None
    ) -> Iterator[Verdict]:
        """The answers, in order; a question without a clear answer has none.

        Raises ConfigError if the server refuses, or doesn't answer after a few tries.
        """
        with requests.Session() as session:
            session.trust_env = False  # no key from a .netrc file
            for question in asked:
                answer = self._answer(session, question)
                if answer is not None:
                    yield Verdict(question.id, answer, self.model)
                progress(1)

    def _answer(self, session: requests.Session, question: Question) -> bool | None:
        task = _FUZZING if question.kind == "fuzzing" else _DETECTION
        said = f"{task} Answer yes or no.\n\nLabel: {question.label}\n\nText:\n{question.text}"
        body: dict[str, Any] = {"model": self.model, "temperature": 0, "messages": [{"role": "user", "content": said}]}
        problem = ""
        for n in range(_TRIES):
            if n:
                time.sleep(_PAUSE_S * 2 ** (n - 1))
            try:
                with session.post(
                    f"{self.url.rstrip('/')}/chat/completions",
                    json=body,
                    headers={} if self.key is None else {"Authorization": f"Bearer {self.key}"},
                    timeout=_TIMEOUT_S,
                    allow_redirects=False,
                    stream=True,
                ) as response:
                    raw = next(response.iter_content(_MAX_ANSWER_BYTES), b"")
                    status = response.status_code
            except (requests.RequestException, OSError) as e:
                problem = type(e).__name__
                continue
            if status == 429 or status >= 500:
                problem = f"status {status}"
                continue
            if status != 200:
                raise ConfigError(f"--endpoint: {self.url}: status {status}: {raw[:200].decode(errors='replace')}")
            return _yes_or_no(raw)
        raise ConfigError(f"--endpoint: {self.url}: no answer after {_TRIES} tries: {problem}")


def _yes_or_no(raw: bytes) -> bool | None:
    try:
        said = json.loads(raw)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError):
        return None
    word = str(said).strip().lower().lstrip("*\"'").partition(" ")[0].rstrip(".,!:;*\"'\n")
    return {"yes": True, "no": False}.get(word.split("\n")[0].rstrip(".,!:;*\"'"))
