"""Opening the checkpoints that a stage samples. Importing this module imports torch: only stages that sample do."""

from factory.context import Context
from factory.sampling.api import Sampler
from factory.sampling.config import SamplingConfig
from factory.sampling.local import LocalSampler


def open_sampler(context: Context, asset: str, sampling: SamplingConfig) -> Sampler:
    """The engine for the Hugging Face weights of the input checkpoint `asset`."""
    return LocalSampler.load(context.inputs[asset].file("hf"), sampling.dtype, sampling.slots)
