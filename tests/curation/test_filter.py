import base64
import inspect
import random
import textwrap

import curation_stages as stages
import pytest

from factory.curation.corruption import compression_ratio, repetition
from factory.curation.language import Languages
from factory.curation.quality import QualityClassifier, RuleAnnotator

ENGLISH = inspect.cleandoc(textwrap.TextWrapper.__doc__ or "") + "\n" + inspect.cleandoc(random.__doc__ or "")
SPOKEN = {
    "en": "The museum opens at nine in the morning, and on Sundays the entrance is free for all visitors who come early.",
    "de": "Das Museum öffnet um neun Uhr morgens, und am Sonntag ist der Eintritt für alle frei, die früh genug kommen.",
    "fr": "Le musée ouvre à neuf heures du matin, et le dimanche l'entrée est gratuite pour tous ceux qui arrivent tôt.",
    "es": "El museo abre a las nueve de la mañana, y los domingos la entrada es gratuita para todos los que llegan temprano.",
    "ja": "博物館は朝九時に開きます。日曜日は早く来た人は誰でも無料で入ることができます。どうぞお越しください。",
    "sv": "Museet öppnar klockan nio på morgonen, och på söndagar är det fri entré för alla besökare som kommer tidigt nog.",
}


@pytest.fixture
def filtered(tmp_path):
    def run(texts, **section):
        documents = [stages.document(text, f"page {i}", kind=kind) for i, (text, kind) in enumerate(texts)]
        given = stages.artefact(tmp_path, "extracted", documents)
        return stages.run(tmp_path, "filtered_documents", "filter", section, {"extracted_documents": given})

    return run


@pytest.mark.parametrize("code", SPOKEN)
def test_languages_are_told_apart(code):
    language, confidence = Languages().detect(SPOKEN[code])
    assert language == code
    assert confidence > 0.5


def test_only_the_languages_of_the_recipe_stay(filtered):
    context = filtered([(text, "document") for text in SPOKEN.values()], languages=["en", "fr"], min_quality=0, min_characters=20)
    assert [row["language"] for row in stages.rows(context)] == ["en", "fr"]
    assert context.counts.dropped == {"language": 4}
    assert context.metrics["language_histogram"] == dict.fromkeys(SPOKEN, 1)


def test_programs_are_of_the_language_code(filtered):
    context = filtered([(inspect.getsource(textwrap), "code"), (ENGLISH, "document")], min_quality=0)
    assert [row["language"] for row in stages.rows(context)] == ["code", "en"]


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("incompressible", base64.b64encode(random.Random(1).randbytes(3_000)).decode()),
        ("symbols", random.Random(2).randbytes(4_000).decode("latin-1")),
        ("symbols", "".join(random.Random(3).choices("#!?/|=+-<>", k=2_000))),
        ("repetitive", "buy now cheap pills online " * 200),
        ("too_short", "Hello."),
    ],
)
def test_wrecked_text_is_dropped_by_reason_while_prose_stays(filtered, reason, text):
    context = filtered([(ENGLISH, "document"), (text, "document")])
    assert context.counts.dropped == {reason: 1}
    assert [row["text"] for row in stages.rows(context)] == [ENGLISH]


def test_prose_and_code_lie_well_within_the_bounds():
    for text in (ENGLISH, inspect.getsource(textwrap)):
        assert 1.8 < compression_ratio(text) < 6
        assert repetition(text) < 0.2


def test_the_annotator_prefers_explanations_to_indexes():
    index = "\n".join(sorted(dir(inspect)))
    explanation, names = RuleAnnotator().grade([ENGLISH, index])
    assert explanation > names + 1
    assert 0 <= names < explanation <= 5


def test_the_classifier_learns_whatever_the_annotator_says():
    import statistics

    good = [inspect.getdoc(item) or "" for item in vars(statistics).values() if callable(item)]
    menu = ["login", "menu", "cart", "share", "subscribe", "cookie", "banner"]
    bad = [" ".join(random.Random(i).choices(menu, k=60)) for i in range(len(good))]
    classifier = QualityClassifier()
    agreement = classifier.fit(good + bad, [4.0] * len(good) + [0.5] * len(bad))
    high, low = classifier.score(["Return the median of the data, as the mean of the two middle values.", "menu cart login cookie banner"])
    assert agreement is not None
    assert agreement > 0.8
    assert high > low + 0.3


def test_filtering_is_deterministic_and_scores_what_it_keeps(tmp_path):
    raw = stages.run(tmp_path, "raw_documents/ref", "sources", {"kind": "language_reference"})
    text = stages.run(tmp_path, "extracted_documents", "extract", {}, {"raw_documents/ref": raw.out})
    first = stages.run(tmp_path / "1", "filtered_documents", "filter", {}, {"extracted_documents": text.out})
    second = stages.run(tmp_path / "2", "filtered_documents", "filter", {}, {"extracted_documents": text.out})
    assert stages.digest(first) == stages.digest(second)
    scores = [row["quality"] for row in stages.rows(first)]
    histogram = first.metrics["quality_histogram"]
    assert len(histogram["edges"]) == len(histogram["counts"]) + 1
    assert sum(histogram["counts"]) == len(scores) + first.counts.dropped.get("low_quality", 0)
    assert min(scores) >= 0.1
    assert max(scores) <= 1
    assert first.metrics["annotator"].startswith("program")
