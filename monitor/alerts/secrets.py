"""Finds keys, tokens, card numbers, IBANs, e-mail addresses and phone numbers in text.

Every pattern is bounded or possessive, so that the time for a text grows with its length alone: see the test that
feeds each one what would make it go back and forth.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from monitor.config.redact import BuiltIn

Span = tuple[int, int]
Finder = Callable[[str], Iterator[Span]]
"""Characters [start, end) of everything of one kind in a text."""

_CLOUD_KEY = re.compile(
    r"""(?<![A-Za-z0-9])(?:
        (?:AKIA|ASIA)[0-9A-Z]{16}(?![0-9A-Za-z])          # AWS access key id
      | AIza[0-9A-Za-z_-]{35}                              # Google API key
      | ya29\.[0-9A-Za-z_-]{20,512}+                       # Google OAuth token
      | gh[opusr]_[0-9A-Za-z]{36,255}+ | github_pat_[0-9A-Za-z_]{22,255}+
      | glpat-[0-9A-Za-z_-]{20,64}+
      | xox[abeoprs]-[0-9A-Za-z-]{10,255}+                 # Slack
      | [rs]k_(?:live|test)_[0-9A-Za-z]{16,255}+           # Stripe
      | sk-[0-9A-Za-z_-]{20,255}+                          # OpenAI, Anthropic and others
      | hf_[0-9A-Za-z]{30,64}+ | npm_[0-9A-Za-z]{36}
      | SG\.[0-9A-Za-z_-]{16,64}+\.[0-9A-Za-z_-]{16,64}+   # SendGrid
      )
      | (?i:aws_?secret_?access_?key|secretaccesskey|accountkey|sharedaccesskey)["']?\s{0,4}+[=:]\s{0,4}+["']?
        [A-Za-z0-9/+]{32,100}+={0,2}                       # AWS secret, Azure storage and service bus
    """,
    re.VERBOSE,
)
_TOKEN = re.compile(
    r"""(?i:\bbearer)[ \t]{1,4}+["']?[A-Za-z0-9._~+/-]{16,8192}+={0,2}
      | (?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,4096}+\.[A-Za-z0-9_-]{8,8192}+(?:\.[A-Za-z0-9_-]{0,4096}+){0,3}+  # JWT
    """,
    re.VERBOSE,
)
# without its last line, it is taken for a key all the same, because a response may end in the middle of one
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
    r"(?:[^-]|-(?!----)){0,32768}+(?:-----END [A-Z0-9 ]{0,60}-----)?"
)
_DIGITS = re.compile(r"(?<![0-9])[0-9]{3,}+(?:[ .\u00a0-][0-9]{3,}+)*+")
_GROUP = re.compile("[0-9]+")
_CARD_DIGITS = range(13, 20)
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}[0-9]{2}(?:[ \u00a0-]?[A-Za-z0-9]){11,30}")
_IBAN_CHARS = range(15, 35)
_EMAIL = re.compile(r"[\w.%+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}")
_PHONE = re.compile(
    r"""(?<![\w+])(?:
        (?:\+|00)[1-9](?:[ ().\u00a0/-]{0,2}[0-9]){6,14}   # with the country's prefix
      | (?:1[ .-])?(?:\([2-9][0-9]{2}\)[ ]?|[2-9][0-9]{2}[ .-])[2-9][0-9]{2}[ .-][0-9]{4}   # North America
      )(?![\w-])
    """,
    re.VERBOSE,
)


def _matches(pattern: re.Pattern[str]) -> Finder:
    return lambda text: (found.span() for found in pattern.finditer(text))


def _cards(text: str) -> Iterator[Span]:
    """Card numbers: 13 to 19 digits in whole groups, with the right check digit."""
    for run in _DIGITS.finditer(text):
        groups = [group.span() for group in _GROUP.finditer(text, *run.span())]
        for n, (start, _) in enumerate(groups):
            digits, longest = "", start
            for m in range(n, len(groups)):
                digits += text[slice(*groups[m])] if groups[m][1] - groups[m][0] < _CARD_DIGITS.stop else "0" * 20
                if len(digits) >= _CARD_DIGITS.stop:
                    break
                if len(digits) in _CARD_DIGITS and _luhn(digits):
                    longest = groups[m][1]
            if longest > start:
                yield start, longest


def _luhn(digits: str) -> bool:
    if not digits.strip("0"):
        return False
    doubled = [int(digit) * 2 for digit in digits[-2::-2]]
    return (sum(map(int, digits[::-2])) + sum(value - 9 if value > 9 else value for value in doubled)) % 10 == 0


def _ibans(text: str) -> Iterator[Span]:
    """International bank account numbers with the right check digits (ISO 13616)."""
    for found in _IBAN.finditer(text):
        start, end = found.span()
        while end > start:
            if end == len(text) or not text[end].isalnum():
                plain = re.sub("[^0-9A-Za-z]", "", text[start:end]).upper()
                if len(plain) < _IBAN_CHARS.start:
                    break
                if int("".join(str(int(char, 36)) for char in plain[4:] + plain[:4])) % 97 == 1:
                    yield start, end
                    break
            end -= 1


FINDERS: Mapping[BuiltIn, Finder] = {
    "cloud_key": _matches(_CLOUD_KEY),
    "token": _matches(_TOKEN),
    "private_key": _matches(_PRIVATE_KEY),
    "card": _cards,
    "iban": _ibans,
    "email": _matches(_EMAIL),
    "phone": _matches(_PHONE),
}
"""The kinds that the config names in alerts.redact.patterns."""
