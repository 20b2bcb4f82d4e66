import pytest
import token_stages

from factory.tokens import train


@pytest.fixture(scope="session")
def documents(tmp_path_factory):
    folder = tmp_path_factory.mktemp("documents")
    return {
        "clean_documents": token_stages.artefact(folder, "clean_documents", token_stages.organic()),
        "web_rewrites": token_stages.artefact(folder, "web_rewrites", [token_stages.document("pages", "r", "A page, told again. " * 20)]),
        "synthetic_documents": token_stages.artefact(folder, "synthetic_documents", token_stages.written(), token_stages.CLUSTERED),
    }


@pytest.fixture(scope="session")
def trained(documents, tmp_path_factory):
    context = token_stages.stage(tmp_path_factory.mktemp("tokenizer"), "tokenizer", {"sample_bytes": 400_000}, documents)
    train.run(context)
    context.result()
    return context
