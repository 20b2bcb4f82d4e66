import evaluated_checkpoints as made
import pyarrow.parquet as pq
import pytest

from factory.tokens.tokenizer import load


@pytest.fixture(scope="session")
def held_out(tmp_path_factory):
    return made.make_benchmarks(tmp_path_factory.mktemp("benchmarks"))


@pytest.fixture(scope="session")
def problems(held_out):
    return pq.read_table(held_out / "problems").to_pylist()


@pytest.fixture(scope="session")
def tokenizer_folder(problems, tmp_path_factory):
    return made.make_tokenizer(tmp_path_factory.mktemp("tokenizer") / "out", problems)


@pytest.fixture(scope="session")
def tokenizer(tokenizer_folder):
    return load(tokenizer_folder)


@pytest.fixture(scope="session")
def checkpoint(tokenizer, tmp_path_factory):
    return made.make_checkpoint(tmp_path_factory.mktemp("checkpoint"), tokenizer.vocab_size)
