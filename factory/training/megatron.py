"""The one door to Megatron-core: every module of this room takes what it needs of it from here.

Two things must happen around its import. Megatron decorates dozens of small functions with `torch.compile`, which loads the
whole compiler (1.5 CPU-seconds a process) and would compile C++ in the middle of a step: without a GPU the decorator is a
no-op while the import runs. After it, `factory.training.cpu` mends what takes CUDA for granted.
"""

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch

from factory.training import cpu

HAS_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if HAS_GPU else "cpu")


def _undecorated(function: Callable[..., Any] | None = None, **_: Any) -> Callable[..., Any]:
    return function if function is not None else _undecorated


@contextlib.contextmanager
def _quiet_import() -> Iterator[None]:
    compile_function = torch.compile
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not HAS_GPU:
            torch.compile = _undecorated
        try:
            yield
        finally:
            torch.compile = compile_function


with _quiet_import():
    from megatron.core import dist_checkpointing, parallel_state
    from megatron.core.datasets import helpers as blending
    from megatron.core.datasets.blended_dataset import BlendedDataset
    from megatron.core.datasets.blended_megatron_dataset_builder import BlendedMegatronDatasetBuilder
    from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig
    from megatron.core.dist_checkpointing.strategies import filesystem_async
    from megatron.core.dist_checkpointing.strategies.async_utils import AsyncRequest
    from megatron.core.dist_checkpointing.strategies.torch import TorchDistSaveShardedStrategy
    from megatron.core.distributed import DistributedDataParallel, DistributedDataParallelConfig, finalize_model_grads
    from megatron.core.models.gpt import GPTModel
    from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec, get_gpt_layer_with_transformer_engine_spec
    from megatron.core.optimizer import MegatronOptimizer, clip_grads, get_megatron_optimizer
    from megatron.core.optimizer import OptimizerConfig as MegatronOptimizerConfig
    from megatron.core.optimizer import _get_param_groups as parameter_groups
    from megatron.core.optimizer.distrib_optimizer import DistributedOptimizer
    from megatron.core.optimizer.optimizer import ChainedOptimizer, Float16OptimizerWithFloat16Params, FP32Optimizer
    from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler
    from megatron.core.packed_seq_params import PackedSeqParams
    from megatron.core.pipeline_parallel.schedules import get_forward_backward_func
    from megatron.core.process_groups_config import ProcessGroupCollection
    from megatron.core.tensor_parallel.random import model_parallel_cuda_manual_seed
    from megatron.core.transformer import TransformerConfig
    from megatron.core.transformer.module import Float16Module, MegatronModule
    from megatron.core.transformer.transformer_block import TransformerBlockSubmodules, get_num_layers_to_build
    from megatron.core.utils import get_batch_on_this_cp_rank

if not HAS_GPU:
    cpu.adapt()
# what these packages will deprecate in time is no news to whoever reads a job's log
warnings.filterwarnings("ignore", module=r"megatron\.|torch\.distributed\.checkpoint")

__all__ = [
    "DEVICE",
    "HAS_GPU",
    "AsyncRequest",
    "BlendedDataset",
    "BlendedMegatronDatasetBuilder",
    "ChainedOptimizer",
    "DistributedDataParallel",
    "DistributedDataParallelConfig",
    "DistributedOptimizer",
    "FP32Optimizer",
    "Float16Module",
    "Float16OptimizerWithFloat16Params",
    "GPTDataset",
    "GPTDatasetConfig",
    "GPTModel",
    "MegatronModule",
    "MegatronOptimizer",
    "MegatronOptimizerConfig",
    "OptimizerParamScheduler",
    "PackedSeqParams",
    "ProcessGroupCollection",
    "TorchDistSaveShardedStrategy",
    "TransformerBlockSubmodules",
    "TransformerConfig",
    "blending",
    "clip_grads",
    "dist_checkpointing",
    "filesystem_async",
    "finalize_model_grads",
    "get_batch_on_this_cp_rank",
    "get_forward_backward_func",
    "get_gpt_layer_local_spec",
    "get_gpt_layer_with_transformer_engine_spec",
    "get_megatron_optimizer",
    "get_num_layers_to_build",
    "model_parallel_cuda_manual_seed",
    "parallel_state",
    "parameter_groups",
]
