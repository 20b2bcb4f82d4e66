import pytest
import release_stages


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory):
    return release_stages.tokenizer(tmp_path_factory.mktemp("release") / "tokenizer")


@pytest.fixture(scope="session", params=["bf16", "fp32"])
def trained(request, tokenizer_folder, tmp_path_factory):
    return release_stages.checkpoint(tmp_path_factory.mktemp(f"trained-{request.param}"), tokenizer_folder, request.param)


@pytest.fixture(scope="session")
def exported(trained, tokenizer_folder, tmp_path_factory):
    inputs = {"tokenizer": tokenizer_folder, "judged_dpo_checkpoint": trained}
    return release_stages.stage(
        tmp_path_factory.mktemp("exported") / "hf", "factory.release.hugging_face:run", {"parity_prompts": 3}, inputs
    )
