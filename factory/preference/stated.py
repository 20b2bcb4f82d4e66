r"""Where a text states its answer: "Answer: X", "#### X" or "\boxed{X}".

Whoever reads answers reads them here, so that what success is, what counts as an attempt and what is good style agree.
"""

import re
from functools import lru_cache

_LINE_MARKERS = re.compile(r"answer:|####", re.IGNORECASE)
_BOX = re.compile(r"\\f?box(?:ed)? *\{")
_LEAD = re.compile(r"(?:so )?(?:the )?(?:final )?answer is:? ", re.IGNORECASE)
_WORDS = re.compile(r"\\(?:text|textbf|mathrm|mathbf|mbox) *\{([^{}]*)\}")
_PUNCTUATION = " .$*)]\\"


def final_answer(text: str) -> str | None:
    """The last answer that a text states, without mark-up; None where it states none or the statement is empty."""
    boxes = [match.end() for match in _BOX.finditer(text)]
    markers = [match.end() for match in _LINE_MARKERS.finditer(text)]
    if boxes and (not markers or boxes[-1] >= markers[-1]):
        found = _braced(text[boxes[-1] :])
    else:
        found = text[markers[-1] :].split("\n", 1)[0] if markers else None
    return None if found is None else _LEAD.sub("", plain(found), count=1) or None


def statements(text: str) -> list[int]:
    """Where the statements of an answer begin, in order; a box behind a marker in its line is part of that statement."""
    markers = [match.start() for match in _LINE_MARKERS.finditer(text)]
    boxes = [match.start() for match in _BOX.finditer(text)]
    return sorted([*markers, *(box for box in boxes if not _LINE_MARKERS.search(text[text.rfind("\n", 0, box) + 1 : box]))])


def ends_with_answer(text: str) -> bool:
    """Whether the last sentence is a statement of an answer: it begins with a marker, or nothing follows its box."""
    line = text.strip().rsplit("\n", 1)[-1].strip()
    if _LINE_MARKERS.match(line.split(". ")[-1].lstrip("*")):
        return True
    boxes = [match.end() for match in _BOX.finditer(line)]
    content = _braced(line[boxes[-1] :]) if boxes else None
    return content is not None and not line[boxes[-1] + len(content) + 1 :].strip(_PUNCTUATION)


@lru_cache(maxsize=4096)  # samples of a question state the same few answers again and again
def plain(text: str) -> str:
    """Text without the mark-up that people put around an answer, and with single spaces."""
    words = _WORDS.sub(r"\1", " ".join(text.split()))
    words = words.replace("\\(", "").replace("\\)", "").replace("\\[", "").replace("\\]", "")
    return words.strip("*`$ ").removesuffix(".").strip("*`$ ")


def _braced(text: str) -> str | None:
    """The content of a group whose opening brace was just read; None where it is never closed."""
    depth = 1
    for index, character in enumerate(text):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth == 0:
            return text[:index]
    return None
