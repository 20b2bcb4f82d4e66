"""Which choice of a multiple-choice question does an answer name? `B`, `(b)`, `B.`, `option B` and `B) some text` all name one.

A letter is many things: `J. Doe` is a person, `T: 6` a temperature and a bare `e` a number. So one side has to be a bare letter,
and an answer that names a second letter names none: `B. or C.` is a guess at two.
"""

import re

_BARE = re.compile(r"\(?([A-Z])[).:]?|\(([a-z])\)")
_BRACKETED = re.compile(r"\(?([A-Za-z])\) (.+)", re.DOTALL)
_NAMED = re.compile(r"(option |choice )?\(?([A-Za-z])(?:([).:])(.*))?", re.IGNORECASE | re.DOTALL)
_LONE = re.compile(r"(?:(?<![\w'’(])|(?<!\w)\()(?![AaI] [a-z])([A-Ja-j])(?![\w'’])(\)?)")
"""A letter that may name a choice: `or C`, `(c)`, `c)`; not the words in `A dog` and `I think`, and not the `x` of `f(x)`."""


def same_choice(given: str, answer: str) -> bool:
    """Whether `given` names the known answer: a bare letter, or a letter in brackets before its text, which names it too."""
    key = _bare(answer)
    if key is not None:
        return key == _named(given)
    shown = _BRACKETED.fullmatch(answer)
    return shown is not None and (_bare(given) == shown[1].upper() or _says(given, shown[1], shown[2]))


def _says(given: str, letter: str, text: str) -> bool:
    """Whether an answer is the text of a choice, or its marked letter with that text or none: `b) blue` and `option B`, not `B) red`."""
    found = _NAMED.fullmatch(given)
    named = found is not None and bool(found[1] or found[3]) and found[2].upper() == letter.upper()
    rest = (found[4] or "").strip().casefold() if found else ""
    return given.casefold() == text.casefold() or (named and rest in {"", text.casefold()})


def _bare(text: str) -> str | None:
    """The letter, as a capital, that is all of `text`; None for a small one without brackets, which may be a symbol."""
    found = _BARE.fullmatch(text)
    return (found[1] or found[2]).upper() if found else None


def _named(text: str) -> str | None:
    """The one letter that an answer names, as a capital."""
    found = _NAMED.fullmatch(text)
    if found is None or (found[2].islower() and not (found[1] or found[3])):
        return None
    return None if _second(found[2], found[4] or "") else found[2].upper()


def _second(letter: str, rest: str) -> bool:
    """Whether the text behind a choice's letter names another one: in brackets of either case, alone in the case of the first."""
    lone = ((other, bracket) for other, bracket in _LONE.findall(rest) if other.upper() != letter.upper())
    return any(bracket or other.isupper() == letter.isupper() for other, bracket in lone)
