import json
import random

import evaluated_checkpoints as made
import numpy as np
import pyarrow as pa
import pytest

from factory.errors import SeedmillError
from factory.evaluation import long_context
from factory.evaluation.candidate import Candidate
from factory.evaluation.config import LongContextConfig
from factory.evaluation.records import Reply
from factory.tokens.indexed import ShardWriter

INDEX = pa.schema([("document", pa.int64()), ("record", pa.string()), ("tokens", pa.int64())])
SMALL = {"documents": 6, "context": 160, "buckets": [0, 40, 80], "recall_lengths": [60, 120], "recall_samples": 3}


@pytest.fixture(scope="module")
def inputs(tokenizer, tokenizer_folder, checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("long")
    other = made.make_checkpoint(folder / "midtrained", tokenizer.vocab_size, seed=1)
    return {
        "tokenizer": tokenizer_folder,
        "pretrained_checkpoint": checkpoint,
        "midtrained_checkpoint": other,
        "long_context_blend": blend(folder / "blend", tokenizer, 9),
    }


def blend(folder, tokenizer, count):
    generator = random.Random(2)
    rows = []
    context = made.stage(folder, "long_context_blend", {}, {})
    with ShardWriter(context.out / "long_held_out", tokenizer.vocab_size) as shard:
        for number in range(count):
            ids = [generator.randrange(300) for _ in range(100 + 20 * number)]
            shard.add(ids)
            rows.append({"document": number, "record": str(number), "tokens": len(ids)})
    context.write_records("held_out_index", rows, INDEX)
    return context.out


def evaluate(folder, inputs, **section):
    context = made.stage(folder, "long_context_evaluation", SMALL | section, inputs)
    long_context.run(context)
    context.result()
    return context, json.loads((context.out / "scores.json").read_text())


def test_both_checkpoints_are_scored_beyond_their_training_length(tmp_path, inputs):
    context, scores = evaluate(tmp_path, inputs)
    assert (context.counts.read, context.counts.kept, context.counts.dropped) == (9, 6, {"not drawn": 3})
    before, after = (scores["checkpoints"][name] for name in ("pretrained_checkpoint", "midtrained_checkpoint"))
    assert [(row["from"], row["to"]) for row in before["loss"]] == [(0, 40), (40, 80), (80, 160)]
    assert scores["last_bucket_gain"] == pytest.approx(before["loss"][-1]["mean"] - after["loss"][-1]["mean"])
    assert [row["n"] for row in after["recall"]] == [4 * 3, 4 * 3]


def test_the_loss_of_a_bucket_is_that_of_its_own_tokens(inputs, tokenizer):
    context = made.stage(inputs["tokenizer"].parent / "loss", "x", {}, inputs)
    config = LongContextConfig(**SMALL)
    candidate = Candidate.open(context, "pretrained_checkpoint", config.sampling)
    documents = long_context._documents(context, config, tokenizer.vocab_size)
    stored = np.fromfile(inputs["long_context_blend"] / "long_held_out" / "data.bin", dtype=np.uint16).tolist()
    assert all(any(list(d) == stored[i : i + len(d)] for i in range(len(stored))) for d in documents)
    losses = [candidate.sampler.log_probs([document])[0] for document in documents]
    expected = [-sum(row[39:79]) / 40 for row in losses]
    found = long_context.loss_by_bucket(candidate, documents, config)[1]
    assert found["mean"] == pytest.approx(sum(expected) / len(expected), abs=2e-2)
    assert found["documents"] == 6


def test_a_riddle_holds_its_answer_at_the_asked_depth_and_fits_its_length(tokenizer):
    for depth in (0.0, 0.5, 1.0):
        riddle = long_context.riddle(tokenizer, 200, depth, random.Random(3))
        lines = tokenizer.decode(riddle.prompt).split("\n")
        place = next(i for i, line in enumerate(lines) if line.startswith(lines[-1]))
        assert lines[place] == f"{lines[-1]} {riddle.value}"
        assert place / (len(lines) - 2) == pytest.approx(depth, abs=0.1)
        assert 120 < len(riddle.prompt) <= 200


def test_a_model_that_looks_the_value_up_recalls_everything_and_one_that_guesses_little(tmp_path, inputs, monkeypatch):
    class Reader(Candidate):
        def ask(self, prompts, **_):
            lines = [self.tokenizer.decode(prompt).split("\n") for prompt in prompts]
            return [[Reply(next(line for line in found if line.startswith(found[-1])).split(":")[1], 2, False)] for found in lines]

    class Guesser(Candidate):
        def ask(self, prompts, **_):
            return [[Reply(" 7\nkey", 3, False)] for _ in prompts]

    shares = {}
    for name, kind in (("reader", Reader), ("guesser", Guesser)):
        monkeypatch.setattr(long_context, "Candidate", kind)
        _, scores = evaluate(tmp_path / name, inputs)
        shares[name] = [row["accuracy"] for row in scores["checkpoints"]["midtrained_checkpoint"]["recall"]]
    assert shares["reader"] == [1, 1]
    assert max(shares["guesser"]) < 0.3


def test_too_few_held_out_documents_are_an_error_that_names_the_remedy(tmp_path, inputs, tokenizer):
    few = blend(tmp_path / "few", tokenizer, 1)
    with pytest.raises(SeedmillError, match="held_out_share"):
        evaluate(tmp_path / "run", inputs | {"long_context_blend": few})


def test_buckets_outside_the_context_are_refused():
    with pytest.raises(ValueError, match="stay below context"):
        LongContextConfig(context=128, buckets=(0, 128))
