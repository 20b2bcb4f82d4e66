import io
import json

import evaluated_checkpoints as made
import pyarrow.parquet as pq
import pytest

from factory.cli.chat import Chat
from factory.errors import SeedmillError
from factory.tokens.tokenizer import load


@pytest.fixture
def chatty(world, tmp_path):
    """The small world with a real tokenizer and a real, untrained model as its checkpoints."""
    problems = pq.read_table(made.make_benchmarks(tmp_path / "benchmarks", 10) / "problems").to_pylist()
    tokenizer = made.make_tokenizer(tmp_path / "tokenizer", problems)
    weights = made.make_checkpoint(tmp_path / "checkpoint", load(tokenizer).vocab_size) / "hf"

    def copy(names_from, into=""):
        def fill(context):
            for path in names_from.iterdir():
                target = context.out / into / path.name
                target.parent.mkdir(exist_ok=True)
                target.write_bytes(path.read_bytes())
            for name in [into] if into else sorted(path.name for path in names_from.iterdir()):
                context.add_file(name)

        return fill

    world.make("tokenizer", copy(tokenizer))
    for name in ("pretrained_checkpoint", "sft_checkpoint"):
        world.make(name, copy(weights, "hf"), ("tokenizer",))
    return world


def opened(world, name: str, temperature: float = 0.0) -> Chat:
    return Chat.open(world.store, world.latest[name], temperature=temperature, max_new_tokens=8)


def test_one_question_is_answered_the_same_way_every_time(chatty, factory):
    words = ("chat", "sft_checkpoint", "--prompt", "What is 2?", "--max-new-tokens", "8", "--json")
    first, second = (json.loads(factory(*words).out) for _ in range(2))
    assert first == second
    assert set(first) == {"checkpoint", "prompt", "answer"}
    assert factory(*words[:-1]).out.split() == first["answer"].split()


def test_a_conversation_is_remembered_and_a_base_model_is_asked_one_exercise_at_a_time(chatty, monkeypatch):
    prompts = []
    for name in ("sft_checkpoint", "pretrained_checkpoint"):
        chat = opened(chatty, name)
        sample = chat.sampler.sample
        monkeypatch.setattr(
            chat.sampler, "sample", lambda requests, *a, s=sample, **k: prompts.append(requests[0].prompt) or s(requests, *a, **k)
        )
        chat.ask("One?")
        chat.ask("Two?")
    decode = chat.examiner.tokenizer.decode
    assert decode(prompts[1]).startswith(decode(prompts[0]))
    assert "Two?" in decode(prompts[1])
    assert decode(prompts[3]) == "Exercise. Two?\nSolution."


def test_the_loop_forgets_on_an_empty_line_and_when_the_model_is_full_and_ends_with_the_input(chatty, monkeypatch, capsys):
    chat = opened(chatty, "sft_checkpoint", temperature=1.0)
    monkeypatch.setattr("sys.stdin", io.StringIO("Hi?\n\n" + "long " * 200 + "?\n"))
    chat.loop()
    assert chat.messages == []
    assert "exceed the model's 128 positions" in capsys.readouterr().out


def test_questions_of_a_program_are_answered_in_lines_of_json(chatty, factory, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("Hi?\n\n" + "long " * 200 + "?\nAnd now?\n"))
    done = factory("chat", "sft_checkpoint", "--json", "--max-new-tokens", "8")
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [sorted(line) for line in lines] == [sorted(("checkpoint", "prompt", last)) for last in ("answer", "error", "answer")]
    assert (lines[0]["prompt"], lines[2]["prompt"], done.err) == ("Hi?", "And now?", "")
    assert "exceed the model's 128 positions" in lines[1]["error"]


def test_what_is_no_checkpoint_cannot_be_talked_to(chatty, factory):
    with pytest.raises(SeedmillError, match="tokenizer is no checkpoint with a tokenizer"):
        opened(chatty, "tokenizer")
    done = factory("chat", "benchmarks", "--prompt", "Hi?")
    assert (done.status, done.err) == (1, "error: benchmarks is no checkpoint with a tokenizer; name one, such as judged_dpo_checkpoint\n")
