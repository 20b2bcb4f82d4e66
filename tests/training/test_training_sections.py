"""What cannot work is refused when the recipe is read, by the name of the field."""

import re

import pytest
from pydantic import ValidationError

from factory.training import flops
from factory.training.architecture import LayoutConfig, ModelConfig
from factory.training.config import DpoConfig, MidtrainConfig, OptimizerConfig, PretrainConfig, SftConfig


@pytest.mark.parametrize(
    ("section", "fields", "message"),
    [
        (PretrainConfig, {"layout": {"tensor": 3}}, "layout.tensor 3 does not divide the model's attention_heads 4"),
        (PretrainConfig, {"layout": {"tensor": 4}}, "layout.tensor 4 does not divide the model's kv_heads 2"),
        (PretrainConfig, {"layout": {"pipeline": 2}}, "layout.pipeline 2 does not divide the model's layers 3"),
        (PretrainConfig, {"layout": {"data": 3}}, "global_batch 16 must be a multiple of micro_batch 16 x layout.data 3"),
        (PretrainConfig, {"layout": {"context": 3}}, "must be a multiple of 2 x layout.context"),
        (PretrainConfig, {"layout": {"sequence_parallel": True}}, "raise tensor or turn it off"),
        (PretrainConfig, {"mask_documents": True, "layout": {"context": 2}}, "set layout.context to 1"),
        (PretrainConfig, {"layout": {"virtual_stages": 2}}, "raise pipeline or leave them at 1"),
        (
            PretrainConfig,
            {"model": {"layers": 6}, "micro_batch": 8, "layout": {"pipeline": 2, "virtual_stages": 2}},
            "layout.pipeline x virtual_stages = 4 does not divide the model's layers 6",
        ),
        (
            PretrainConfig,
            {"model": {"layers": 4}, "layout": {"pipeline": 2, "virtual_stages": 2}},
            "virtual stages need a multiple of layout.pipeline 2 micro-batches a step, but there are 1",
        ),
        (PretrainConfig, {"optimizer": {"kind": "muon"}, "layout": {"tensor": 2}}, "set layout.tensor to 1"),
        (
            PretrainConfig,
            {"batch_ramp": {"start": 8, "steps": 3}},
            "batch_ramp.start 8 must be a multiple of micro_batch x layout.data = 16",
        ),
        (PretrainConfig, {"mixture_changes": [{"step": 5000, "shares": {"web": 1}}]}, "rising steps below 3400, not at [5000]"),
        (PretrainConfig, {"mixture_changes": [{"step": 5, "shares": {"web": 0.6}}]}, "must be at least 0 and sum to 1"),
        (MidtrainConfig, {"mask_documents": True, "layout": {"context": 2}}, "set layout.context to 1"),
        (MidtrainConfig, {"fp8": "delayed", "precision": "fp32"}, "set precision to bf16"),
        (SftConfig, {"layout": {"context": 2}}, "set layout.context to 1"),
        (DpoConfig, {"betta": 0.1}, "Extra inputs are not permitted"),
        (OptimizerConfig, {"lr": 1e-4, "min_lr": 1e-3}, "min_lr 0.001 is above lr 0.0001"),
        (ModelConfig, {"attention_heads": 3}, "hidden_size 128 must be a multiple of 2 x attention_heads 3"),
        (ModelConfig, {"kv_heads": 3}, "attention_heads 4 must be a multiple of kv_heads 3"),
    ],
)
def test_a_section_that_cannot_work_is_refused_by_name(section, fields, message):
    with pytest.raises(ValidationError, match=re.escape(message)):
        section.model_validate(fields)


def test_the_world_size_is_the_product_of_the_layout():
    assert LayoutConfig(tensor=2, pipeline=3, context=2, data=4).world_size == 48


def test_flops_of_phi4_are_those_of_its_published_shape():
    phi4 = ModelConfig(layers=40, hidden_size=5120, ffn_hidden_size=17920, attention_heads=40, kv_heads=10)
    assert flops.per_token(phi4, 100_352, 4096) == pytest.approx(89.9e9, rel=0.01)


def test_a_growing_batch_counts_every_row_once():
    section = PretrainConfig(micro_batch=4, global_batch=16, batch_ramp={"start": 4, "steps": 6})
    sizes = [section.rows_before(step + 1) - section.rows_before(step) for step in range(8)]
    assert sizes == [4, 4, 8, 8, 12, 12, 16, 16]
    assert PretrainConfig().rows_before(7) == 7 * 16
