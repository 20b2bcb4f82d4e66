import pytest

from factory.errors import SeedmillError
from factory.graph import build as build_graph
from factory.plan import build as planning
from factory.plan import data, layout, memory, params, time
from factory.plan.config import PlanConfig, PublishedRun
from factory.plan.gpus import GIB, GPUS
from factory.preference import checker
from factory.recipe import Recipe
from factory.store.manifest import Manifest
from factory.synthesis import best_of
from factory.training import flops
from factory.training.architecture import LayoutConfig, ModelConfig
from factory.training.config import DpoConfig, PretrainConfig, SftConfig

SMALL = ModelConfig(layers=2, hidden_size=8, ffn_hidden_size=12, attention_heads=2, kv_heads=1)
SHARED = {"sequence_parallel": True, "distributed_optimizer": True}


def changed(recipe: Recipe, **sections):
    """With other sections; what was not said stays unsaid, as some of it is then filled in from elsewhere."""
    return Recipe.model_validate({**recipe.model_dump(exclude_unset=True), **sections})


def stage(recipe, name="pretrain", gpu="h100"):
    made = planning.build(recipe, gpu, planning.Utilisation(0.4, "assumed"))
    return next(s for s in made.stages if s.stage == name)


def manifest(metrics, gpu_seconds, data_ranks=2):
    shape = {"tensor": 1, "pipeline": 1, "context": 1, "data": data_ranks}
    empty = {"code_version": 1, "seed": 0, "source_version": None, "inputs": [], "outputs": [], "counts": {}, "seeds": {}, "attempt": 1}
    times = {"started": "", "ended": "", "seconds": 1.0, "cpu_seconds": 1.0, "peak_rss_bytes": 1, "where": {}, "commit": "", "packages": {}}
    fields = {"metrics": metrics, "cost": {"gpu_seconds": gpu_seconds}, "section": {"layout": shape}}
    return Manifest(asset="pretrained_checkpoint", version="v", digest="d", **empty, **times, **fields)


def test_the_papers_model_has_its_parameters(phi4):
    model = phi4.training.pretrain.model
    assert params.total(model, params.vocabulary(phi4.tokenizer)) == 14_659_507_200
    made = planning.build(phi4, "h100", planning.Utilisation(0.4, "assumed"))
    assert made.parameters_without_embeddings == 13_631_902_720


def test_a_small_model_counted_by_hand():
    # block: 8x8 query, 8x8 output, 8x4 key, 8x4 value, 3 x 8x12, two norms of 8; last norm 8; two tables of 10x8
    assert params.linear(SMALL) == 64 + 64 + 32 + 32 + 288
    assert params.total(SMALL, 10) == 2 * (480 + 16) + 8 + 160


def test_ranks_hold_the_whole_model_once_but_for_norms():
    split = LayoutConfig(tensor=1, pipeline=2)
    assert params.on_rank(SMALL, 10, split, 0) + params.on_rank(SMALL, 10, split, 1) == params.total(SMALL, 10)
    halves = LayoutConfig(tensor=2)
    assert 2 * params.on_rank(SMALL, 10, halves, 0) == params.total(SMALL, 10) + 2 * 16 + 8


def test_vocabularies_are_padded_as_the_tokenizer_pads_them(phi4):
    trained = phi4.tokenizer.model_copy(update={"kind": "trained", "vocab_size": 1000, "padded_multiple": 64})
    assert params.vocabulary(trained) == 1024
    assert params.vocabulary(phi4.tokenizer) == 100_352


def test_the_papers_run_takes_its_flops_and_steps(phi4):
    pretrain = stage(phi4)
    assert pretrain.flops_per_token == pytest.approx(89.9e9, rel=0.01)
    assert pretrain.global_batch == 5760
    assert pretrain.steps == pytest.approx(424_000, rel=0.001)
    assert pretrain.tokens == pytest.approx(10e12, rel=1e-5)
    assert stage(phi4, "midtrain").tokens == pytest.approx(250e9, rel=1e-3)
    assert stage(phi4, "sft").tokens == pytest.approx(8e9, rel=1e-3)


def test_the_published_run_implies_its_utilisation(phi4):
    made = planning.build(phi4, "h100", planning.Utilisation(0.4, "assumed"))
    by_hand = 9.8e12 * 89.905e9 / (1920 * 21 * 24 * 3600) / 989.4e12
    assert made.published_mfu == pytest.approx(by_hand, rel=1e-3)
    run = PublishedRun(source="x", gpu="a100", gpus=2, days=1, tokens=1e9)
    assert time.published_mfu(run, 1e9) == pytest.approx(1e18 / (2 * 86_400 * 312e12))


def test_time_is_flops_over_rate(phi4):
    pretrain = stage(phi4)
    assert pretrain.gpu_hours == pytest.approx(pretrain.flops / (0.4 * 989.4e12) / 3600)
    assert pretrain.seconds == pytest.approx(pretrain.step_seconds * pretrain.steps)
    assert stage(phi4, gpu="b200").seconds == pytest.approx(pretrain.seconds * 989.4 / 2250)


def test_state_is_counted_in_bytes_a_parameter():
    training = PretrainConfig(model=SMALL, micro_batch=1, global_batch=4, layout=LayoutConfig(data=4))
    number = params.total(SMALL, 10)
    plain = memory.predict(SMALL, training, 10, GPUS["h100"])
    assert (plain.weights, plain.gradients, plain.optimizer) == (2 * number, 4 * number, 12 * number)
    sharded = training.model_copy(update={"layout": LayoutConfig(data=4, distributed_optimizer=True)})
    assert memory.predict(SMALL, sharded, 10, GPUS["h100"]).optimizer == 3 * number
    full = memory.predict(SMALL, training.model_copy(update={"precision": "fp32"}), 10, GPUS["h100"])
    assert (full.weights, full.optimizer) == (4 * number, 8 * number)


def test_fp8_keeps_copies_of_the_matrices_and_narrower_activations():
    training = PretrainConfig(model=SMALL, micro_batch=2, global_batch=2)
    narrow = training.model_copy(update={"fp8": "tensorwise"})
    bf16, h100, b200 = (memory.predict(SMALL, t, 10, GPUS[g]) for t, g in ((training, "h100"), (narrow, "h100"), (narrow, "b200")))
    assert (bf16.fp8_copies, h100.fp8_copies, b200.fp8_copies) == (0, 2 * 2 * 480, 2 * 480)
    # of each token's block: two norm outputs and SwiGLU's product at one byte instead of two, one more copy of attention's output
    assert bf16.activations - h100.activations == 2 * 2 * 128 * (2 * 8 + 12 - 8)


def test_a_gpus_activations_counted_by_hand():
    training = PretrainConfig(model=SMALL, micro_batch=1, global_batch=1, sequence_length=16)
    block = 4 * 2 * 8 + 2 * (8 + 2 * 4) + 2 * 8 + 4 * 2 + 2 * 24 + 2 * 12
    loss = 10 * (2 + 4 + 4 + 2)
    assert memory.activations(SMALL, training, 10, "gpu", 0) == 16 * (2 * block + 2 * 2 * 8 + loss)


def test_the_first_pipeline_stage_holds_a_micro_batch_for_every_stage():
    training = PretrainConfig(model=SMALL, micro_batch=1, global_batch=8, sequence_length=16, layout=LayoutConfig(pipeline=2))
    first, last = (memory.activations(SMALL, training, 2, "gpu", number) for number in (0, 1))
    once = PretrainConfig(model=SMALL, micro_batch=1, global_batch=1, sequence_length=16, layout=LayoutConfig(pipeline=2))
    block = 16 * (4 * 2 * 8 + 2 * (8 + 2 * 4) + 2 * 8 + 4 * 2 + 2 * 24 + 2 * 12)
    assert first - memory.activations(SMALL, once, 2, "gpu", 0) == block
    assert first > last


def test_virtual_stages_wait_less_and_hold_more():
    plain = PretrainConfig(model=ModelConfig(layers=8), micro_batch=1, global_batch=4, layout=LayoutConfig(pipeline=2))
    pieces = plain.model_copy(update={"layout": LayoutConfig(pipeline=2, virtual_stages=2)})
    assert [time.bubble(t) for t in (plain, pieces)] == [pytest.approx(1 / 5), pytest.approx(1 / 9)]
    # rank 0 warms up one micro-batch of four blocks, or four pieces of two blocks, and holds one more
    assert [memory.blocks_in_flight(plain.model, t, 0) for t in (plain, pieces)] == [8, 10]
    assert [memory.blocks_in_flight(plain.model, t, 1) for t in (plain, pieces)] == [4, 6]


def test_muon_keeps_one_moment_of_the_matrices():
    adam = PretrainConfig(model=SMALL, micro_batch=1, global_batch=1)
    muon = PretrainConfig(model=SMALL, micro_batch=1, global_batch=1, optimizer={"kind": "muon"})
    spared = [memory.predict(SMALL, t, 10, GPUS["h100"]).optimizer for t in (adam, muon)]
    assert spared[0] - spared[1] == 4 * 2 * 480
    assert memory.checkpoint_bytes(SMALL, adam, 10) - memory.checkpoint_bytes(SMALL, muon, 10) == 4 * 2 * 480


def test_a_ramp_trains_on_fewer_tokens():
    ramped = PretrainConfig(model=SMALL, micro_batch=1, global_batch=8, steps=10, batch_ramp={"start": 4, "steps": 4})
    assert time.stage_flops(ramped, 10, 1.0) == (4 + 5 + 6 + 7 + 6 * 8) * ramped.sequence_length


def test_recomputation_keeps_block_inputs_only(phi4):
    model, training = phi4.training.pretrain.model, phi4.training.pretrain
    again = training.model_copy(update={"layout": training.layout.model_copy(update={"recompute": True})})
    kept, recomputed = (memory.predict(model, t, 100_352, GPUS["h100"]).activations for t in (training, again))
    assert recomputed < kept / 4


def test_pipelines_wait_as_long_as_they_fill():
    training = PretrainConfig(model=SMALL, micro_batch=1, global_batch=3, layout=LayoutConfig(pipeline=2))
    assert time.bubble(training) == pytest.approx(1 / 4)
    assert time.bubble(PretrainConfig()) == 0


def test_epochs_become_steps_of_full_rows():
    sft = SftConfig(epochs=2, micro_batch=4, global_batch=8, sequence_length=100)
    assert time.steps(sft, 1000, 50) == 125
    assert time.steps(sft, 1001, 50) == 126
    assert time.steps(sft.model_copy(update={"steps": 7}), 0, 0) == 7


def test_imported_chats_are_trained_on_beside_the_factory_s_own():
    expected = time.expected_examples("sft", SftConfig(), PlanConfig(imported_chats=500, tokens_per_conversation=80), 1000)
    assert expected == (1500, 80)


def test_preference_training_pays_for_one_pass_of_the_reference():
    dpo = DpoConfig(epochs=2, micro_batch=1, global_batch=2, sequence_length=50)
    assert time.stage_flops(dpo, 10, 3.0) == pytest.approx(1000 * 3.0 + 500 * 3.0 / 3)


def test_pairs_of_unknown_number_are_asked_for():
    with pytest.raises(SeedmillError, match=r"plan\.pairs\.my_pairs"):
        time.expected_examples("judged_dpo", DpoConfig(pairs="my_pairs"), PlanConfig(), 0)


def test_a_measured_rate_becomes_a_utilisation():
    assert time.measured_mfu(manifest({"model_tflops_per_second": 800.0}, 100.0), "h100") == pytest.approx(400 / 989.4)


def test_a_rate_that_was_measured_on_another_kind_of_gpu_is_refused():
    """The recorded MFU tells the kind: 800 TFLOP/s on two ranks at 40.43 % of the peak means 989.4 TFLOP/s each."""
    hopper = manifest({"model_tflops_per_second": 800.0, "mfu": 0.4043}, 100.0)
    assert time.measured_on(hopper) == ["h100", "h200"]
    assert time.measured_mfu(hopper, "h200") == pytest.approx(400 / 989.4)
    for other in ("a100", "b200"):
        with pytest.raises(SeedmillError, match=rf"measured on h100 or h200, which says nothing about {other}: plan with --gpu h100"):
            time.measured_mfu(hopper, other)
    assert time.measured_on(manifest({"model_tflops_per_second": 800.0}, 100.0)) == []


@pytest.mark.parametrize(
    ("metrics", "gpu_seconds", "said"), [({}, 1.0, "measured no training rate"), ({"model_tflops_per_second": 1.0}, 0.0, "without a GPU")]
)
def test_what_was_not_measured_on_a_gpu_is_refused(metrics, gpu_seconds, said):
    with pytest.raises(SeedmillError, match=said):
        time.measured_mfu(manifest(metrics, gpu_seconds), "h100")


def test_both_recipes_fit_the_gpus_they_are_for(phi4, one_gpu):
    for recipe in (phi4, one_gpu):
        made = planning.build(recipe, recipe.plan.gpu, planning.Utilisation(0.4, "assumed"))
        assert made.problems == []
        for s in made.stages:
            assert s.memory.total + recipe.plan.reserved_gib * GIB < 80e9
    assert {s.gpus for s in made.stages} == {1}


def test_a_layout_that_does_not_fit_is_refused_and_the_proposal_does(phi4):
    training = phi4.training.pretrain.model_copy(update={"layout": LayoutConfig(data=1920, distributed_optimizer=True)})
    refused = changed(phi4, training={**phi4.training.model_dump(), "pretrain": training.model_dump()})
    found = stage(refused)
    assert "GiB a GPU" in found.problems[0]
    better = PretrainConfig.model_validate(
        {**training.model_dump(), "micro_batch": found.proposal["micro_batch"], "layout": found.proposal["layout"]}
    )
    assert better.layout.world_size == 1920
    assert better.global_batch == 5760
    assert layout.problems(better.model, better, 100_352, GPUS["h100"], phi4.plan) == []


def test_too_few_gpus_are_doubled_until_the_model_fits(phi4):
    training = phi4.training.pretrain.model_copy(update={"layout": LayoutConfig(), "global_batch": 5760})
    found = layout.propose(training.model, training, 100_352, GPUS["h100"], phi4.plan)
    assert found is not None
    assert found.layout.world_size in {2, 4, 8}


def test_nothing_is_proposed_where_nothing_works(phi4):
    nowhere = phi4.plan.model_copy(update={"reserved_gib": 79.0})
    assert layout.propose(phi4.training.pretrain.model, phi4.training.pretrain, 100_352, GPUS["h100"], nowhere) is None


@pytest.mark.parametrize(
    ("fields", "gpu", "said"),
    [
        ({"layout": {"tensor": 2, "data": 6, **SHARED}}, "h100", "do not fill whole nodes"),
        ({"fp8": "tensorwise"}, "a100", "set it to none"),
        ({"fp8": "tensorwise", "sequence_length": 4100}, "h100", "multiple of 16"),
    ],
)
def test_layouts_that_cannot_work_are_named(phi4, fields, gpu, said):
    training = PretrainConfig.model_validate({**phi4.training.pretrain.model_dump(), **fields})
    found = layout.problems(training.model, training, 100_352, GPUS[gpu], phi4.plan)
    assert any(said in line for line in found), found


def test_tensor_ranks_stay_within_a_node(phi4):
    slow = phi4.plan.model_copy(update={"gpus_per_node": 1})
    found = layout.problems(phi4.training.pretrain.model, phi4.training.pretrain, 100_352, GPUS["h100"], slow)
    assert found == ["layout.tensor 2 spans more than one node of 1 GPUs"]


def test_a_vocabulary_that_tensor_ranks_cannot_share_is_named(phi4):
    training = PretrainConfig.model_validate({**phi4.training.pretrain.model_dump(), "layout": {"tensor": 5, "data": 8}})
    assert layout.problems(training.model, training, 100_352, GPUS["h100"], phi4.plan) == [
        "layout.tensor 5 does not divide the vocabulary 100352"
    ]


def test_the_mixture_is_seen_for_the_epochs_of_table_5(phi4):
    epochs = {c.cluster: round(c.epochs, 1) for c in data.clusters(phi4, 100_352)}
    assert epochs == {"web": 1.2, "web_rewrites": 5.2, "synthetic": 13.8, "code": 2.4, "acquired": 1.7}


def test_ids_take_two_bytes_up_to_megatrons_limit():
    assert (data.token_bytes(65_499), data.token_bytes(65_500)) == (2, 4)


def test_the_teachers_tokens_are_counted_by_hand(one_gpu):
    synthesis = one_gpu.synthesis.model_dump()
    synthesis["web_rewrites"] |= {"passages": 10, "questions": 3, "max_answer_tokens": 100}
    synthesis["synthetic_documents"] |= {"program_reversals": 0}
    synthesis["teacher"] |= {"price_per_million_input": 1.0, "price_per_million_output": 2.0}
    plans = data.teacher(changed(one_gpu, synthesis=synthesis))
    assert [p.stage for p in plans] == ["web_rewrites", "refusals"]
    assert (plans[0].requests, plans[0].most_output_tokens, plans[0].output_tokens) == (53, 5300, 2650)
    assert plans[0].money == pytest.approx((53 * 400 * 1 + 2650 * 2) / 1e6)


def test_a_judge_and_those_who_answer_it_are_counted_by_hand(one_gpu):
    asked = {"kind": "openai", "model": "LARGE"}
    judge = {
        "questions": 100,
        "teacher": {"kind": "openai", "model": "JUDGE"},
        "responders": [{"checkpoint": "sft_checkpoint", "answers": 2}, {"checkpoint": "teacher", "teacher": asked, "answers": 4}],
        "max_new_tokens": 50,
        "max_teacher_tokens": 1000,
    }
    synthesis = one_gpu.synthesis.model_dump()
    synthesis["web_rewrites"] |= {"passages": 0, "questions": 0}
    synthesis["synthetic_documents"] |= {"program_reversals": 0}
    synthesis["teacher"] |= {"price_per_million_input": 1.0, "price_per_million_output": 2.0}
    plans = {p.stage: p for p in data.teacher(changed(one_gpu, synthesis=synthesis, preference={"judge": judge}))}
    assert set(plans) == {"refusals", "judged_pairs, answers", "judged_pairs, verdicts"}
    answers, verdicts = plans["judged_pairs, answers"], plans["judged_pairs, verdicts"]
    assert (answers.model, answers.requests, answers.input_tokens, answers.most_output_tokens) == ("LARGE", 400, 400 * 400, 400 * 1000)
    # two answers of 50 and four of 1000 tokens, half as long as allowed, stand in each verdict's prompt
    assert (verdicts.model, verdicts.requests, verdicts.input_tokens) == ("JUDGE", 200, 200 * (400 + 2050))
    assert verdicts.money == pytest.approx((200 * 2450 * 1 + 200 * 500 * 2) / 1e6)


def test_the_checks_of_the_pivotal_filter_are_counted_by_hand(one_gpu):
    pivotal = {"questions": 30, "filter_samples": 4, "max_new_tokens": 100, "checker": {"kind": "openai", "model": "CHECKER"}}
    changes = {"synthesis": one_gpu.synthesis.model_dump(), "preference": {"pivotal": pivotal}}
    changes["synthesis"]["teacher"] |= {"price_per_million_input": 1.0, "price_per_million_output": 2.0}
    plans = {p.stage: p for p in data.teacher(changed(one_gpu, **changes))}
    checks = plans["pivotal_pairs, the filter's checks"]
    assert (checks.model, checks.requests, checks.input_tokens, checks.most_output_tokens) == ("CHECKER", 120, 120 * 450, 120 * 1024)


def test_the_pieces_of_refusals_are_counted_by_hand_and_written_by_the_teacher_of_synthesis_unless_another_is_named(one_gpu):
    def found(**section):
        preference = {"refusals": {"questions": 20, "held_out": 10, "max_teacher_tokens": 100, **section}}
        return [p for p in data.teacher(changed(one_gpu, preference=preference)) if p.stage == "refusals"]

    (ours,) = found()
    assert (ours.model, ours.requests, ours.most_output_tokens) == ("YOUR-MODEL", 4 * (10 + 5), 6000)
    assert [p.model for p in found(teacher={"kind": "openai", "model": "OTHER"})] == ["OTHER"]
    assert found(teacher={"kind": "procedural"}) == []


def test_organic_questions_are_answered_for_the_bank_and_for_conversations(one_gpu):
    synthesis = one_gpu.synthesis.model_dump()
    synthesis["question_bank"] |= {"plurality_samples": 5}
    synthesis["sft_conversations"] |= {"best_of": 4, "checker": {"kind": "openai", "model": "CHECKER"}}
    plan = one_gpu.plan.model_copy(update={"organic_questions": 10})
    requests = {p.stage: p.requests for p in data.teacher(changed(one_gpu, synthesis=synthesis, plan=plan.model_dump()))}
    assert (requests["question_bank"], requests["sft_conversations"]) == (50, 40)
    assert (requests["sft_conversations, checks"], requests["sft_conversations, verdicts"]) == (40, 10)
    assert "question_bank" not in {p.stage for p in data.teacher(one_gpu)}


def test_verdicts_and_checks_of_the_plan_are_as_long_as_those_of_the_stage():
    assert (best_of.LONGEST_VERDICT, checker.LONGEST_CHECK) == (data.LONGEST_VERDICT, data.LONGEST_CHECK)


def test_the_released_models_stay_in_the_store_too(phi4):
    made = planning.build(phi4, "h100", planning.Utilisation(0.4, "assumed"))
    assert made.released == {"hugging_face_model": 2 * 14_659_507_200, "gguf_model": 2 * 14_659_507_200}


def test_a_plan_changes_no_identity(one_gpu):
    other = changed(one_gpu, plan={"gpu": "a100", "assumed_mfu": 0.1, "pairs": {"pivotal_pairs": 7}})
    assert {n: s.identity for n, s in build_graph(one_gpu).items()} == {n: s.identity for n, s in build_graph(other).items()}


def test_flops_agree_with_the_trainers_own(phi4):
    pretrain = phi4.training.pretrain
    assert stage(phi4).flops_per_token == flops.per_token(pretrain.model, 100_352, pretrain.sequence_length)
