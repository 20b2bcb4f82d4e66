import json
import shutil

import pytest
import release_stages
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from factory.errors import SeedmillError
from factory.release.parity import report
from factory.tokens.tokenizer import chatml, load

QUESTION = [{"role": "user", "content": "What is 12 + 30?"}]


@pytest.fixture(scope="module")
def ours(tokenizer_folder):
    return load(tokenizer_folder)


@pytest.fixture(scope="module")
def theirs(exported):
    return AutoTokenizer.from_pretrained(exported.out / "model", local_files_only=True)


def test_the_exported_model_is_the_trained_one(exported):
    parity = json.loads((exported.out / "parity.json").read_text())
    assert 0 < exported.metrics["logit_difference"] <= parity["logit_difference_at_most"] <= 1e-4
    assert parity["argmax_agreement"] == 1.0
    assert parity["positions"] == 3 * 48


def test_a_chat_ends_with_its_turn(exported, theirs, ours):
    model = AutoModelForCausalLM.from_pretrained(exported.out / "model", local_files_only=True)
    assert theirs.eos_token_id == model.config.eos_token_id == model.generation_config.eos_token_id == ours.im_end
    assert theirs.eos_token == "<|im_end|>"


def test_padding_is_a_token_of_its_own(exported, theirs, ours):
    model = AutoModelForCausalLM.from_pretrained(exported.out / "model", local_files_only=True)
    assert theirs.pad_token_id == model.config.pad_token_id == model.generation_config.pad_token_id == ours.pad
    assert len({theirs.pad_token_id, theirs.eos_token_id, theirs.bos_token_id}) == 3


def test_the_assistant_is_only_introduced_when_a_prompt_is_asked_for(theirs, ours):
    without = theirs.apply_chat_template(QUESTION, tokenize=False)
    assert without == chatml(QUESTION)
    assert theirs.apply_chat_template(QUESTION, tokenize=False, add_generation_prompt=True) == without + "<|im_start|>assistant<|im_sep|>"
    for header in (False, True):
        ids = theirs.apply_chat_template(QUESTION, add_generation_prompt=header, return_dict=False)
        assert ids == ours.encode_chat(QUESTION, add_generation_prompt=header)


def test_nothing_is_put_before_or_after_a_text(theirs, ours):
    text = "x = 12 + 7\n\n\tdon't   stop: 日本 1234"
    assert theirs(text)["input_ids"] == ours.encode(text)
    assert theirs.decode(ours.encode(text)) == text


def test_the_rotary_base_of_the_checkpoint_survives(exported):
    model = AutoModelForCausalLM.from_pretrained(exported.out / "model", local_files_only=True)
    inverse = model.model.rotary_emb.inv_freq
    assert inverse.tolist() == pytest.approx([20_000 ** (-index / 4) for index in range(4)])


def test_it_generates(exported, theirs):
    model = AutoModelForCausalLM.from_pretrained(exported.out / "model", local_files_only=True)
    prompt = theirs.apply_chat_template(QUESTION, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    ids = model.generate(**prompt, max_new_tokens=4, do_sample=False)
    assert prompt["input_ids"].shape[1] < ids.shape[1] <= prompt["input_ids"].shape[1] + 4


def test_the_same_checkpoint_gives_the_same_release(exported, trained, tokenizer_folder, tmp_path):
    inputs = {"tokenizer": tokenizer_folder, "judged_dpo_checkpoint": trained}
    again = release_stages.stage(tmp_path / "hf", "factory.release.hugging_face:run", {"parity_prompts": 3}, inputs)
    assert [output.digest for output in again.outputs] == [output.digest for output in exported.outputs]


def test_a_wrong_conversion_is_refused(trained, tokenizer_folder, tmp_path):
    spoilt = tmp_path / "spoilt"
    shutil.copytree(trained, spoilt)
    weights = load_file(spoilt / "hf" / "model.safetensors")
    name = "model.layers.0.self_attn.qkv_proj.weight"
    weights[name] = torch.roll(weights[name], 8, 0)
    save_file(weights, spoilt / "hf" / "model.safetensors", metadata={"format": "pt"})
    inputs = {"tokenizer": tokenizer_folder, "judged_dpo_checkpoint": spoilt}
    with pytest.raises(SeedmillError, match="differs from judged_dpo_checkpoint"):
        release_stages.stage(tmp_path / "hf", "factory.release.hugging_face:run", {"parity_prompts": 2}, inputs)


def test_the_trained_side_reads_the_trainers_checkpoint_and_never_the_export(trained, tokenizer_folder, tmp_path):
    spoilt = tmp_path / "spoilt"
    shutil.copytree(trained, spoilt)
    weights = load_file(spoilt / "hf" / "model.safetensors")
    # One part in 128 is the smallest change that every bf16 weight near 1 can hold.
    weights["model.norm.weight"] *= 1 + 2**-7
    save_file(weights, spoilt / "hf" / "model.safetensors", metadata={"format": "pt"})
    inputs = {"tokenizer": tokenizer_folder, "judged_dpo_checkpoint": spoilt}
    with pytest.raises(SeedmillError, match="differs from judged_dpo_checkpoint"):
        release_stages.stage(tmp_path / "hf", "factory.release.hugging_face:run", {"parity_prompts": 2}, inputs)


def test_another_tokenizer_json_is_refused(trained, tokenizer_folder, tmp_path):
    other = tmp_path / "tokenizer"
    shutil.copytree(tokenizer_folder, other)
    text = (other / "tokenizer.json").read_text()
    assert r"\\p{N}{1,2}" in text
    (other / "tokenizer.json").write_text(text.replace(r"\\p{N}{1,2}", r"\\p{N}{1,1}"))
    inputs = {"tokenizer": other, "judged_dpo_checkpoint": trained}
    with pytest.raises(SeedmillError, match="AutoTokenizer gives"):
        release_stages.stage(tmp_path / "hf", "factory.release.hugging_face:run", {}, inputs)


@pytest.mark.parametrize(("difference", "stated"), [(0.0, 1e-5), (3e-6, 1e-5), (4e-5, 1e-4), (1e-4, 1e-4)])
def test_the_report_rounds_the_difference_up_to_a_power_of_ten(difference, stated):
    from factory.release.config import HuggingFaceConfig

    measured = {"logit_difference": difference, "argmax_agreement": 1.0, "positions": 1, "texts": 1}
    assert report(measured, HuggingFaceConfig())["logit_difference_at_most"] == pytest.approx(stated)
