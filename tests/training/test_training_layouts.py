"""From one checkpoint, every layout gives the losses of a single process: 20 steps in fp32, all four objectives.

And pretraining with masked documents, and by Muon with a norm that is always clipped.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import training_worlds as worlds
from training_worlds import losses_of

from factory.training.architecture import LayoutConfig
from factory.training.launch import RENDEZVOUS

MODEL = worlds.MODEL | {"layers": 4, "attention_heads": 8, "kv_heads": 4}
COMMON = {"precision": "fp32", "micro_batch": 4, "global_batch": 4, "sequence_length": 32, "checkpoint_every": 100, "steps": 20}
PARENT = {"start_from": "parent"}
OBJECTIVES = {
    "pretrain": COMMON | PARENT | {"model": MODEL},
    "midtrain": COMMON | PARENT,
    "sft": COMMON | PARENT | {"sequence_length": 40},
    "dpo": COMMON | PARENT | {"sequence_length": 40, "pairs": "pivotal_pairs"},
}
OBJECTIVES["masked"] = OBJECTIVES["pretrain"] | {"mask_documents": True}
OBJECTIVES["muon"] = OBJECTIVES["pretrain"] | {"optimizer": {"kind": "muon", "clip": 0.1}}
STAGES = {"masked": "pretrain", "muon": "pretrain"}
SEGMENTED = ("sft", "dpo", "masked")
FURTHER = {"masked": ("tp2 sp pp2", "pp2 virtual dp2", "tp4"), "muon": ("pp2 virtual dp2", "pp2 cp2", "dp4")}
"""Which layouts of four ranks these two are tried at; of two ranks, all."""
TWO = {
    "tp2": {"tensor": 2},
    "tp2 sp": {"tensor": 2, "sequence_parallel": True},
    "pp2": {"pipeline": 2},
    "pp2 virtual": {"pipeline": 2, "virtual_stages": 2},
    "cp2": {"context": 2},
    "dp2": {"data": 2},
    "dp2 overlap": {"data": 2, "overlap": True},
    "dp2 distopt overlap": {"data": 2, "distributed_optimizer": True, "overlap": True},
    "pp2 recompute": {"pipeline": 2, "recompute": True},
    "pp2 rows end-to-end": {"pipeline": 2},
}
FOUR = {
    "tp2 pp2": {"tensor": 2, "pipeline": 2},
    "tp2 dp2": {"tensor": 2, "data": 2},
    "tp2 dp2 distopt": {"tensor": 2, "data": 2, "distributed_optimizer": True},
    "tp2 sp pp2": {"tensor": 2, "pipeline": 2, "sequence_parallel": True},
    "tp2 sp dp2 distopt overlap": {
        "tensor": 2,
        "data": 2,
        "sequence_parallel": True,
        "distributed_optimizer": True,
        "overlap": True,
    },
    "tp4": {"tensor": 4},
    "tp4 sp": {"tensor": 4, "sequence_parallel": True},
    "pp4": {"pipeline": 4},
    "pp2 dp2 distopt overlap": {"pipeline": 2, "data": 2, "distributed_optimizer": True, "overlap": True},
    "pp2 virtual dp2": {"pipeline": 2, "virtual_stages": 2, "data": 2},
    "tp2 sp pp2 virtual": {"tensor": 2, "pipeline": 2, "virtual_stages": 2, "sequence_parallel": True},
    "cp2 dp2": {"context": 2, "data": 2},
    "cp2 dp2 distopt": {"context": 2, "data": 2, "distributed_optimizer": True},
    "cp4": {"context": 4},
    "pp2 cp2": {"pipeline": 2, "context": 2},
    "tp2 cp2": {"tensor": 2, "context": 2},
    "tp2 cp2 sp": {"tensor": 2, "context": 2, "sequence_parallel": True},
    "dp4": {"data": 4},
    "dp4 distopt overlap": {"data": 4, "distributed_optimizer": True, "overlap": True},
}


def supported(name, layout):
    """What the sections do not refuse (tests of them hold them to it): no segments over context ranks, no DPO over virtual stages,
    Muon with whole matrices. What differs on a GPU is tried with what has segments.
    """
    for objective in OBJECTIVES:
        if objective in SEGMENTED and layout.get("context", 1) > 1:
            continue
        if objective == "dpo" and layout.get("virtual_stages", 1) > 1:
            continue
        if objective == "muon" and (layout.get("tensor", 1) > 1 or layout.get("distributed_optimizer")):
            continue
        if name in FOUR and name not in FURTHER.get(objective, FOUR):
            continue
        if "end-to-end" in name and objective not in SEGMENTED:
            continue
        yield objective


def micro_batch(layout):
    """Two micro-batches a step among data ranks, and enough to fill a pipeline."""
    return 1 if layout.get("data", 1) > 1 else 4 // layout.get("pipeline", 1)


def cases(layouts):
    return [
        pytest.param(name, objective, id=f"{name}-{objective}") for name, layout in layouts.items() for objective in supported(name, layout)
    ]


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    """A world with one parent for all, and the losses of every objective in a single process."""
    made = worlds.World(tmp_path_factory.mktemp("family"))
    made.add_blend({"web": 0.25, "code": 0.75})
    made.add_long_blend()
    made.add_pairs("pivotal_pairs")
    made.add_conversations("sft_conversations")
    spec = made.spec("parent", "pretrain", {k: v for k, v in OBJECTIVES["pretrain"].items() if k != "start_from"} | {"steps": 4})
    made.adopt("parent", Path(spec.folder), worlds.run_here(spec))
    alone = run_layouts(made, {"alone": {}})
    return made, {objective: found for (_, objective), found in alone.items()}


@pytest.fixture(scope="module")
def two(family):
    return run_layouts(family[0], TWO)


@pytest.fixture(scope="module")
def four(family):
    return run_layouts(family[0], FOUR)


def run_layouts(world, layouts):
    """The losses of every supported (layout, objective), all run by one set of processes."""
    specs = {}
    for name, layout in layouts.items():
        for objective in supported(name, layout):
            section = OBJECTIVES[objective] | {"layout": layout, "micro_batch": micro_batch(layout)}
            specs[name, objective] = world.spec(objective, STAGES.get(objective, objective), section, name.replace(" ", "-"))
    for spec in specs.values():
        (Path(spec.folder) / "job.json").write_text(spec.model_dump_json())
    launch([Path(spec.folder) / "job.json" for spec in specs.values()], LayoutConfig(**next(iter(layouts.values()))).world_size)
    return {key: losses_of(spec) for key, spec in specs.items()}


def launch(jobs, ranks):
    code = os.pathsep.join([str(Path(__file__).parent), str(worlds.CHECKOUT)])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "WORLD_SIZE": str(ranks), "PYTHONPATH": code, RENDEZVOUS: "-"}
    command = [sys.executable, str(Path(__file__).with_name("layout_ranks.py")), *map(str, jobs)]
    logs = [jobs[0].with_name(f"rank-{rank}.log") for rank in range(ranks)]
    processes = [start_rank(command, environment | {"RANK": str(rank)}, log) for rank, log in enumerate(logs)]
    try:
        for process in processes:
            process.wait(250 * ranks)
        assert not any(p.returncode for p in processes), "\n".join(log.read_text()[-2000:] for log in logs)
    finally:
        for process in processes:
            process.kill()


def start_rank(command, environment, log):
    with log.open("w") as stream:
        return subprocess.Popen(command, cwd=worlds.CHECKOUT, env=environment, stdin=subprocess.PIPE, stderr=stream)


def assert_same(found, expected):
    assert len(found) == len(expected) == 20
    worst = max(abs(a - b) / max(1, abs(b)) for a, b in zip(found, expected, strict=True))
    assert worst <= 1e-5, f"worst difference {worst:.2e}"


@pytest.mark.ranks
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("layout", "objective"), cases(TWO))
def test_two_ranks_give_the_losses_of_one_process(family, two, layout, objective):
    assert_same(two[layout, objective], family[1][objective])


@pytest.mark.ranks4
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("layout", "objective"), cases(FOUR))
def test_four_ranks_give_the_losses_of_one_process(family, four, layout, objective):
    assert_same(four[layout, objective], family[1][objective])
