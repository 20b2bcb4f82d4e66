import pytest
import training_worlds as worlds


@pytest.fixture
def world(tmp_path):
    """Two clusters, and nothing trained yet."""
    made = worlds.World(tmp_path)
    made.add_blend({"web": 0.25, "code": 0.75})
    return made


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A world with a pretrained checkpoint, pairs and conversations; tests only add to it."""
    made = worlds.World(tmp_path_factory.mktemp("trained"))
    made.add_blend({"web": 0.25, "code": 0.75})
    spec = made.spec("pretrained_checkpoint", "pretrain", {"model": worlds.MODEL, "steps": 8, "precision": "fp32", **worlds.SHORT})
    made.adopt("pretrained_checkpoint", worlds.Path(spec.folder), worlds.run_here(spec))
    made.add_pairs("pivotal_pairs")
    made.add_conversations("sft_conversations")
    return made


@pytest.fixture
def letters(monkeypatch):
    """Conversations are encoded letter by letter."""
    monkeypatch.setattr("factory.tokens.tokenizer.load", lambda _: worlds.LetterEncoder())
