"""How well languages are told on the project's own rows: `python -m tests.tokens.language_figures` prints it."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator

from monitor.sets.load import builtin_folder
from monitor.tokens.language_identifier import LanguageIdentifier


def texts(folder: str) -> Iterator[tuple[str, str | None]]:
    """Every text of every row with its language; None if the row doesn't say it, which then is English or code."""
    for path in sorted((builtin_folder() / folder).glob("*.jsonl")):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            subset = row.get("subset") or row.get("kind") or ""
            language = row.get("language") or (subset if re.fullmatch("[a-z]{2}", subset) else None)
            said = [row.get("prompt", ""), row["response"], *(turn["content"] for turn in row.get("messages", ()))]
            yield from ((text, language) for text in said if text.strip())


def main() -> None:
    """Prints figures; with `--rows`, also the rows without a language that are taken for another than English."""
    rows = [*texts("cases"), *texts("contrasts"), *texts("languages")]
    started = time.process_time()
    identifier = LanguageIdentifier()
    print(f"loading: {time.process_time() - started:.2f} s of CPU time")  # noqa: T201
    different = dict.fromkeys(text for text, _ in rows)  # the texts of pairs are often the same
    started = time.process_time()
    found = {text: identifier.language_of(text) for text in different}
    each_us = (time.process_time() - started) / len(different) * 1e6
    mean_chars = sum(map(len, different)) / len(different)
    print(f"{each_us:.0f} µs of CPU time a text, of {mean_chars:.0f} characters on average")  # noqa: T201
    plain = [text for text, language in rows if language is None]
    wrong = [text for text in plain if found[text] not in (None, "en")]
    others = [(text, language) for text, language in rows if language is not None]
    told = sum(found[text] not in (None, "en") for text, _ in others)
    right = sum(found[text] == language for text, language in others)
    print(f"texts in English or code: {len(wrong)} of {len(plain)} taken for another language")  # noqa: T201
    print(f"texts in other languages: {told} of {len(others)} known as such, {right} in the right one")  # noqa: T201
    if "--rows" in sys.argv:
        for text in dict.fromkeys(wrong):
            print(found[text], json.dumps(text[:150], ensure_ascii=False))  # noqa: T201


if __name__ == "__main__":
    main()
