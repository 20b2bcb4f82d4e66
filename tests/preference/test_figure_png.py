import json
import struct
from dataclasses import asdict

from factory.preference import figure_png
from factory.preference.figure import Trajectory

TOKENS = ("So", " 1", " +", " 2\n", "x" * 50, "Answer", "€\x00")
SHOWN = Trajectory("1 + 2?", TOKENS, (-0.1,) * 7, (0.5, 0.9, None, 0.4, 0.5, None, 1.0, 1.0), (0,), 0.2, 32)


def size(png):
    assert png.startswith(b"\x89PNG")
    return struct.unpack(">II", png[16:24])


def test_tokens_stand_in_lines_that_break_where_the_answer_does_or_the_line_is_full():
    assert list(figure_png.places(TOKENS)) == [
        (0, 0, "So"),
        (2, 0, " 1"),
        (4, 0, " +"),
        (6, 0, " 2¶"),
        (0, 1, "x" * 50),
        (50, 1, "Answer"),
        (0, 2, "€\ufffd"),
    ]


def test_the_picture_of_a_folder_grows_with_the_answer_and_is_absent_without_one(tmp_path):
    assert figure_png.of_folder(tmp_path) is None
    (tmp_path / "trajectory.json").write_text(json.dumps(asdict(SHOWN)))
    picture = figure_png.of_folder(tmp_path)
    assert picture == figure_png.draw(SHOWN)
    longer = Trajectory("?", TOKENS * 3, (-0.1,) * 21, (0.5,) * 22, (), 0.2, 32)
    assert size(figure_png.draw(longer))[1] > size(picture)[1]
    assert figure_png.draw(Trajectory(**{**asdict(SHOWN), "pivots": (3,)})) != picture
    assert figure_png.draw(Trajectory(**{**asdict(SHOWN), "log_probs": (-0.1, -3.0, *(-0.1,) * 5)})) != picture
    assert figure_png.draw(Trajectory(**{**asdict(SHOWN), "question": "1 + 3?"})) != picture
