"""The endpoint teacher against a real HTTP server: cache, crash, budget, errors."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from chat_server import ChatServer

from factory.errors import SeedmillError
from factory.synthesis.cache import AnswerCache
from factory.synthesis.config import TeacherConfig
from factory.synthesis.endpoint import EndpointTeacher
from factory.synthesis.teacher import TeacherRequest


def request(text: str, sample: int = 0) -> TeacherRequest:
    return TeacherRequest("test@1", (("user", text),), {}, max_tokens=10, sample=sample)


def teacher(folder: Path, url: str, **settings: object) -> EndpointTeacher:
    values = {"price_per_million_input": 1.0, "price_per_million_output": 10.0, "max_retries": 3, **settings}
    config = TeacherConfig.model_validate({"kind": "openai", "model": "m", "base_url": url, "api_key_env": "TEST_TEACHER_KEY", **values})
    return EndpointTeacher(config, AnswerCache(folder / "teacher.sqlite"))


def test_answers_come_in_order_and_a_second_run_asks_nothing(tmp_path: Path) -> None:
    requests = [request(f"q{i}") for i in range(20)]
    with ChatServer(delay=0.01) as server:
        first = teacher(tmp_path, server.url).answer(requests)
        assert [answer.text for answer in first] == [f"echo q{i}" for i in range(20)]
        assert not any(answer.cached for answer in first)
        second = teacher(tmp_path, server.url).answer(requests)
        assert [answer.text for answer in second] == [answer.text for answer in first]
        assert all(answer.cached for answer in second)
        assert len(server.asked) == 20


def test_equal_requests_are_asked_once_and_samples_apart(tmp_path: Path) -> None:
    with ChatServer() as server:
        answers = teacher(tmp_path, server.url).answer([request("q"), request("q"), request("q", sample=1)])
        assert len(server.asked) == 2
        assert [answer.cached for answer in answers] == [False, True, False]


def test_no_more_than_max_concurrency_are_in_flight(tmp_path: Path) -> None:
    with ChatServer(delay=0.03) as server:
        teacher(tmp_path, server.url, max_concurrency=3).answer([request(f"q{i}") for i in range(12)])
        assert 1 < server.most_active <= 3


def overwrite(path: Path, start: int, size: int) -> None:
    content = path.read_bytes()
    assert len(content) > start + size
    path.write_bytes(content[:start] + b"\x55" * size + content[start + size :])


@pytest.mark.parametrize(("start", "size"), [(0, 64), (4096, 4096)], ids=["not a database", "a page overwritten"])
def test_a_damaged_cache_is_one_clear_error_and_nothing_is_asked_or_paid_again(tmp_path: Path, start: int, size: int) -> None:
    """An empty one in its place would forget what was spent, and ask for all of it a second time."""
    path = tmp_path / "teacher.sqlite"
    with ChatServer() as server:
        asked = [request(f"q{i}" * 100) for i in range(40)]
        first = teacher(tmp_path, server.url)
        first.answer(asked)
        first.cache.close()
        overwrite(path, start, size)
        with pytest.raises(SeedmillError, match=r"teacher\.sqlite.* is damaged .*: bring back a copy, or move it away"):
            teacher(tmp_path, server.url).answer(asked)
        assert len(server.asked) == len(asked)


@pytest.mark.kill
def test_a_killed_run_resumes_without_asking_for_what_was_answered(tmp_path: Path) -> None:
    script = textwrap.dedent(
        f"""
        import sys
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_teacher_endpoint import request, teacher
        teacher(Path(sys.argv[1]), sys.argv[2], max_concurrency=2).answer([request(f"q{{i}}") for i in range(60)])
        """
    )
    with ChatServer(delay=0.05) as server:
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path), server.url], env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        )
        while len(server.asked) < 15:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        cache = AnswerCache(tmp_path / "teacher.sqlite")
        answered = {f"q{i}" for i in range(60) if cache.find(request(f"q{i}").key("m"))}
        assert 10 <= len(answered) < 60
        time.sleep(0.1)
        before = len(server.asked)
        answers = teacher(tmp_path, server.url).answer([request(f"q{i}") for i in range(60)])
        asked_again = server.asked[before:]
        assert [answer.text for answer in answers] == [f"echo q{i}" for i in range(60)]
        assert sorted(asked_again) == sorted({f"q{i}" for i in range(60)} - answered)


def test_what_a_killed_run_had_in_flight_stays_reserved(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path / "teacher.sqlite")
    cache.reserve("key", 0.25, budget=1.0)
    cache.close()
    assert AnswerCache(tmp_path / "teacher.sqlite").spent() == 0.25


def test_the_budget_stops_before_the_request_that_could_break_it(tmp_path: Path) -> None:
    price = (100 * 1.0 + 10 * 10.0) / 1e6
    with ChatServer() as server:
        limited = teacher(tmp_path, server.url, budget=5.5 * price, max_concurrency=1)
        with pytest.raises(SeedmillError, match=r"teacher\.budget"):
            limited.answer([request(f"q{i}") for i in range(50)])
        asked = len(server.asked)
        assert 0 < asked <= 5
        assert limited.cache.spent() == pytest.approx(asked * price)
        raised = teacher(tmp_path, server.url, budget=1.0)
        raised.answer([request(f"q{i}") for i in range(50)])
        assert len(server.asked) == 50, "what was paid for before the cap is not asked again"
        assert raised.cache.spent() == pytest.approx(50 * price)


def test_a_budget_of_nothing_sends_nothing(tmp_path: Path) -> None:
    with ChatServer() as server:
        with pytest.raises(SeedmillError, match="budget of 0"):
            teacher(tmp_path, server.url, budget=0.0).answer([request("q")])
        assert server.asked == []


def test_429_and_503_are_tried_again_and_cost_nothing(tmp_path: Path) -> None:
    with ChatServer(statuses=(429, 503, 429)) as server:
        patient = teacher(tmp_path, server.url)
        assert patient.answer([request("q")])[0].text == "echo q"
        assert len(server.asked) == 4
        assert patient.cache.spent() == pytest.approx(200 / 1e6)


@pytest.mark.parametrize(
    ("status", "requests_made", "said"),
    [
        (401, 1, "answered 401: set the environment variable TEST_TEACHER_KEY"),
        (404, 1, "answered 404.*teacher.base_url"),
        (429, 4, "still answered 429 after 3 retries"),
        (500, 4, "still answered 500 after 3 retries"),
    ],
)
def test_a_lasting_error_is_one_line_that_names_the_remedy(tmp_path: Path, status: int, requests_made: int, said: str) -> None:
    with ChatServer(statuses=(status,) * 100) as server:
        failing = teacher(tmp_path, server.url, max_concurrency=1)
        with pytest.raises(SeedmillError, match=said) as error:
            failing.answer([request(f"q{i}") for i in range(5)])
        assert server.url in str(error.value)
        assert "\n" not in str(error.value)
        assert len(server.asked) == requests_made
        assert failing.cache.spent() == 0


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SeedmillError, match=r"cannot be reached.*teacher\.base_url"):
        teacher(tmp_path, "http://127.0.0.1:9/v1", max_retries=0).answer([request("q")])


def test_an_answer_cut_by_the_limit_says_so(tmp_path: Path) -> None:
    with ChatServer() as server:
        assert not teacher(tmp_path, server.url).answer([request("cut me")])[0].complete


def test_the_key_of_a_request_is_its_content() -> None:
    assert request("q").key("m") == request("q").key("m")
    different = {request("q").key("m"), request("q").key("n"), request("r").key("m"), request("q", sample=1).key("m")}
    assert len(different) == 4
