"""A run that was killed, stopped, doubled or damaged goes on to the same artefacts; a change makes anew only what it changes."""

import json
import signal
import sqlite3
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml
from trial import SMOKE, Trial, digests

SECTIONS = yaml.safe_load(SMOKE.read_text())
ANSWERS_BEFORE_THE_KILL = 5


def test_an_interrupted_run_says_so_and_goes_on_to_the_same_digests(trial, curated):
    process = trial.start("run", "clean_documents")
    trial.wait_for("started", "filtered_documents", process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")
    assert "filtered_documents: failed: interrupted; the next run goes on" in out
    assert "Dagster" not in out
    finished = set(trial.manifests())
    assert finished >= {"extracted_documents"}
    assert trial("run", "clean_documents").status == 0
    assert trial.made().isdisjoint(finished)
    assert digests(trial) == digests(curated)


def test_two_runs_of_one_workspace_at_the_same_time_both_end_well(trial, curated):
    both = [trial.start("run", "clean_documents") for _ in range(2)]
    for process in both:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, out + err
    assert digests(trial) == digests(curated)


def test_a_stored_output_with_a_flipped_byte_is_noticed_and_built_again(continued, curated):
    (part,) = continued.home.glob("store/artifacts/extracted_documents/*/attempts/*/out/documents/*.parquet")
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    done = continued("run", "clean_documents")
    assert done.status == 0, done.err
    assert "is damaged and is built again: documents/part-00000.parquet has other bytes than its manifest says" in done.out
    assert continued.made() == {"extracted_documents"}
    assert digests(continued) == digests(curated)


def test_a_threshold_that_changes_no_output_rebuilds_nothing_further(continued, sources):
    continued.write(sources=sources, curation={**SECTIONS["curation"], "filter": {"annotations": 100, "min_quality": 0.1001}})
    states = continued.states()
    assert states["filtered_documents"] == "stale"
    assert {states["unique_documents"], states["clean_documents"]} == {"pending"}
    assert {states["extracted_documents"], states["benchmarks"]} == {"fresh"}
    assert continued("run", "clean_documents").status == 0
    assert continued.made() == {"filtered_documents"}


class Teacher:
    """An OpenAI-compatible server that counts what it is asked and, after some answers, holds every further request."""

    def __init__(self, status: int = 200, answers: int | None = None) -> None:
        self.status, self.answers = status, answers
        self.answered: list[str] = []
        self.held: list[str] = []
        self.go_on = threading.Event()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def section(self) -> dict:
        """The section `synthesis` of a recipe with this teacher and few requests."""
        teacher = {
            "kind": "openai",
            "model": "m",
            "base_url": f"http://127.0.0.1:{self._server.server_port}/v1",
            "api_key_env": "MILL_KEY",
            "price_per_million_input": 1,
            "price_per_million_output": 1,
            "budget": 5,
            "max_concurrency": 2,
        }
        return {**SECTIONS["synthesis"], "teacher": teacher, "web_rewrites": {"passages": 4, "questions": 8}}

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        teacher = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                asked = json.dumps(body["messages"])
                with teacher._lock:
                    hold = teacher.answers is not None and len(teacher.answered) >= teacher.answers
                    (teacher.held if hold else teacher.answered).append(asked)
                if hold:
                    teacher.go_on.wait()
                    return
                message = {"role": "assistant", "content": "Q: What is it about?\nA: It is about what the passage says."}
                choice = {"index": 0, "message": message, "finish_reason": "stop"}
                usage = {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20}
                reply = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}
                data = json.dumps(reply if teacher.status == 200 else {"error": {"message": "no such key"}}).encode()
                self.send_response(teacher.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                """Keep the tests' output clean."""

        return Handler


def taught(trial: Trial, sources: dict, teacher: Teacher) -> None:
    trial.write(sources=sources, synthesis=teacher.section())
    trial.environment = {"MILL_KEY": "wrong"}


def test_a_teacher_that_refuses_the_key_is_named_with_the_variable_to_set(continued, sources):
    teacher = Teacher(status=401)
    taught(continued, sources, teacher)
    error = continued("run", "web_rewrites").fails_in_one_line()
    teacher.stop()
    assert "(model m) answered 401: set the environment variable MILL_KEY to a valid key" in error
    assert len(teacher.answered) <= 2  # those in flight side by side: no further one is sent


def kept(trial: Trial) -> int:
    """How many answers the workspace holds."""
    path = trial.home / "cache/teacher.sqlite"
    if not path.exists():
        return 0
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        tables = database.execute("SELECT count(*) FROM sqlite_master WHERE name = 'answers'").fetchone()[0]
        return database.execute("SELECT count(*) FROM answers").fetchone()[0] if tables else 0


def test_no_request_that_a_teacher_answered_is_asked_again_after_a_kill(continued, sources):
    teacher = Teacher(answers=ANSWERS_BEFORE_THE_KILL)
    taught(continued, sources, teacher)
    process = continued.start("run", "web_rewrites")
    deadline = time.monotonic() + 120
    while kept(continued) < ANSWERS_BEFORE_THE_KILL or not teacher.held:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    continued.kill()
    process.wait(timeout=30)
    teacher.answers = None
    teacher.go_on.set()
    done = continued("run", "web_rewrites")
    teacher.stop()
    assert done.status == 0, done.err
    assert len(teacher.answered) == len(set(teacher.answered)) > ANSWERS_BEFORE_THE_KILL
    cost = continued.manifests()["web_rewrites"]["cost"]
    assert cost["teacher_cache_hits"] == ANSWERS_BEFORE_THE_KILL
    assert cost["teacher_requests"] == len(teacher.answered) - ANSWERS_BEFORE_THE_KILL


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_another_beta_makes_that_checkpoint_stale_and_what_depends_on_it_pending(smoke_home, tmp_path):
    trial = Trial(smoke_home, tmp_path / "recipe.yaml")
    trial.write()
    made = {asset for asset, state in trial.states().items() if state == "fresh"}
    training = SECTIONS["training"]
    trial.write(training={**training, "judged_dpo": {**training["judged_dpo"], "beta": 0.2}})
    states = trial.states()
    assert {asset for asset in made if states[asset] == "stale"} == {"judged_dpo_checkpoint"}
    assert {asset for asset in made if states[asset] == "pending"} == {
        "evaluation/judged_dpo_checkpoint",
        "safety_report",
        "promotion_gate",
        "hugging_face_model",
        "gguf_model",
        "model_card",
    }
    assert {state for asset, state in states.items() if asset in made} == {"fresh", "stale", "pending"}
