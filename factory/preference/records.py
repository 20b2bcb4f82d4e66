"""The one way to write a preference pair, whichever stage found it."""

from collections.abc import Sequence

from factory.preference.domains import domain_of
from factory.records import Record, new_record


def preference_pair(
    question: Record,
    *,
    kind: str,
    created_by: str,
    text: str,
    prompt: Sequence[int],
    chosen: Sequence[int],
    rejected: Sequence[int],
    evidence: str,
    part: str = "",
    domain: str = "",
) -> Record:
    """A PAIR record whose parent is its question; `part` tells several pairs of one question apart, `text` is for people to read.

    The domain is that of the question's family where none is given.
    """
    return new_record(
        source=question["source"],
        locator=f"{question['locator']}#{part}" if part else question["locator"],
        text=text,
        kind=kind,
        created_by=created_by,
        license=question["license"],
        language=question["language"],
        parents=[question["id"]],
        domain=domain or domain_of(question["family"]),
        question=question["id"],
        prompt=list(prompt),
        chosen=list(chosen),
        rejected=list(rejected),
        evidence=evidence,
    )
