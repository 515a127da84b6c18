"""Makes text from events safe to show: nothing in it may steer a terminal, a browser or the reader's eye."""

from __future__ import annotations

import re
import unicodedata

# Joiners that scripts and emoji need; number signs that Arabic, Syriac and Kaithi draw.
_KEPT = frozenset("\u200c\u200d\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")
_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_ASCII = re.compile(r"[ -~]*\Z")


def visible(text: str, newline: str = "\n", tab: str = "\t") -> str:
    """`text` with every control, bidi, invisible or broken character written out as <U+202E>.

    Terminal escapes, bidi overrides and tag characters can recolour, reorder or hide what an operator reads. Written
    out, they are visible and harmless. Newlines and tabs become `newline` and `tab`.
    """
    if _ASCII.match(text):
        return text
    text = text.replace("\r\n", "\n")
    return "".join(_shown(char, newline, tab) for char in text)


def visible_line(text: str) -> str:
    """`text` for one line: as `visible`, with newlines shown as ↵ and tabs as a space."""
    return visible(text, newline="↵ ", tab=" ")


def _shown(char: str, newline: str, tab: str) -> str:
    if char == "\n":
        return newline
    if char == "\t":
        return tab
    if char in _KEPT:
        return char
    code = ord(char)
    noncharacter = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF
    if noncharacter or unicodedata.category(char) in _HIDDEN_CATEGORIES:
        return f"<U+{code:04X}>"
    return char
