"""Says what somebody probably meant by a code that is not one. Used for messages only: no hint ever decides."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

FARTHEST_GUESS = 2
"""More edits than this and a guess would be noise."""

# Capitals that look like Latin ones, Cyrillic then Greek, escaped because nobody could tell them apart here.
_CYRILLIC = "\u0410\u0412\u0415\u0405\u0406\u0408\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0425\u0423"
_GREEK = "\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7"
LOOK_ALIKES = str.maketrans(_CYRILLIC + _GREEK, "ABESIJKMHOPCTXY" + "ABEZHIKMNOPTYX")


def plain_form(text: str) -> str:
    """Return `text` as it would look in plain capital ASCII: no width forms, look-alikes, case or outer space."""
    folded = unicodedata.normalize("NFKC", text).strip().upper()
    return folded.translate(LOOK_ALIKES)


def fault_of(text: str) -> str:
    """Return what is odd about the way that `text` is written, or an empty string."""
    if text != text.strip():
        return "it has spaces or line breaks around it"
    if not text.isascii():
        return "it is written with characters that only look like Latin ones"
    if text != text.upper():
        return "codes are written in capitals"
    return ""


def closest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that takes the fewest edits to reach, or None when all are far."""
    ranked = sorted((_edits(word.lower(), candidate.lower()), candidate) for candidate in known)
    if not ranked or ranked[0][0] > min(FARTHEST_GUESS, len(word) // 2):
        return None
    return ranked[0][1]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for a near miss, else an empty string."""
    guess = closest(word[:64], known)
    return f"; did you mean {guess!r}?" if guess else ""


def listed(names: Iterable[str]) -> str:
    """Return names sorted, as a person writes a list: `[DE, FR]`."""
    return f"[{', '.join(sorted(names))}]"


def _edits(left: str, right: str) -> int:
    # Levenshtein's distance by rows (Wagner and Fischer, 1974).
    row = list(range(len(right) + 1))
    for count, letter in enumerate(left, start=1):
        previous, row[0] = row[0], count
        for place, other in enumerate(right, start=1):
            change = previous + (letter != other)
            previous, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, change)
    return row[-1]
