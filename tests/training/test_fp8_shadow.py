"""FP8 that strays from BF16 stops the run. Without a GPU a stand-in plays FP8: it says what it would have measured."""

import pytest
from training_worlds import MODEL, SHORT, digest_of, run_here

from factory.errors import SeedmillError
from factory.training import model, shadow, trainer
from factory.training.architecture import LayoutConfig
from factory.training.config import PretrainConfig, ShadowConfig
from factory.training.distributed import joined
from factory.training.shadow import Measured

SECTION = {"model": MODEL, "steps": 6, **SHORT}


def test_only_fp8_runs_are_compared_first_and_at_intervals():
    training = PretrainConfig(fp8="tensorwise", shadow=ShadowConfig(first_steps=2, every=5))
    assert [step for step in range(12) if shadow.due(training, step)] == [0, 1, 5, 10]
    assert not shadow.due(PretrainConfig(), 0)


@pytest.mark.parametrize(
    ("fp8", "message"),
    [
        (Measured(3.1, 1.0), r"step 7: loss in FP8 is 3\.33% off that in BF16 \(shadow\.tolerance is 2\.00%\): train in bf16"),
        (Measured(3.0, 1.5), r"gradient norm in FP8 is 50\.00% off"),
        (Measured(float("nan"), 1.0), "loss in FP8 is nan% off"),
    ],
)
def test_what_strays_is_named_with_its_limit(fp8, message):
    with pytest.raises(SeedmillError, match=message):
        shadow.compare(fp8, Measured(3.0, 1.0), ShadowConfig(), 6)


def test_what_is_close_passes_with_its_differences():
    assert shadow.compare(Measured(3.03, 1.1), Measured(3.0, 1.0), ShadowConfig(), 0) == pytest.approx({"loss": 0.01, "gradient norm": 0.1})


def test_fp8_without_a_gpu_is_one_clear_error_and_nothing_is_trained(world):
    spec = world.spec("pretrained_checkpoint", "pretrain", SECTION | {"fp8": "tensorwise"}, "without a GPU")
    with pytest.raises(SeedmillError, match="pretrained_checkpoint: fp8 is 'tensorwise', but there is no GPU here: set fp8 to none"):
        run_here(spec)


def test_the_settings_come_back_after_the_shadow():
    with joined(LayoutConfig(), seed=1):
        chunks = model.build(PretrainConfig.model_validate(SECTION).model, PretrainConfig(), 64)
        config = model.unwrap(chunks).config
        config.fp8 = "hybrid"
        with shadow.in_bf16(chunks):
            assert config.fp8 is None
        assert config.fp8 == "hybrid"


def test_the_shadow_changes_no_bit_of_the_run_and_sees_the_same_numbers(world, monkeypatch):
    plain = run_here(world.spec("pretrained_checkpoint", "pretrain", SECTION, "plain"))
    compared = []
    monkeypatch.setattr(shadow, "due", lambda *_: True)
    monkeypatch.setattr(shadow, "compare", lambda fp8, bf16, *_: compared.append((fp8, bf16)))
    shadowed = run_here(world.spec("pretrained_checkpoint", "pretrain", SECTION, "shadowed"))
    assert digest_of(shadowed, "mcore") == digest_of(plain, "mcore")
    assert len(compared) == 6
    assert all(fp8 == bf16 and fp8.norm > 0 for fp8, bf16 in compared)


def test_a_run_stops_when_its_fp8_strays(world, monkeypatch):
    real = trainer.Trainer._measured
    monkeypatch.setattr(shadow, "due", lambda _, step: step == 3)
    calls = []

    def measured(self, means):
        calls.append(real(self, means))
        return calls[-1] if len(calls) == 1 else Measured(calls[-1].loss * 1.5, calls[-1].norm)

    monkeypatch.setattr(trainer.Trainer, "_measured", measured)
    with pytest.raises(SeedmillError, match="step 4: loss in FP8 is 50"):
        run_here(world.spec("pretrained_checkpoint", "pretrain", SECTION, "stray"))
