"""Megatron-core 0.16.1 on a machine without CUDA: the adaptations, each named by the call site it is for.

None changes a numeric result. With CUDA none is applied. A new Megatron version needs each looked at again, hence the check.
"""

import contextlib
import ctypes
import functools
import importlib
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any

import torch

from factory.errors import SeedmillError
from factory.training import fused

CPU = torch.device("cpu")
KNOWN_VERSION = "0.16.1"
FACTORIES = ("zeros", "ones", "empty", "tensor", "full", "arange", "empty_like")
LITERAL_CUDA_MODULES = (
    "megatron.core.utils",  # local_multi_tensor_l2_norm: the gradient norm without Apex
    "megatron.core.transformer.utils",  # get_default_causal_mask
    "megatron.core.optimizer.optimizer",  # found_inf and loss scale
    "megatron.core.optimizer.clip_grads",  # norm and clip buffers
    "megatron.core.pipeline_parallel.schedules",  # the token count of all three schedules
    "megatron.core.dist_checkpointing.exchange_utils",  # fully parallel load
    "megatron.core.dist_checkpointing.strategies.state_dict_saver",  # torch_dist save
)
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # malloc.h
ROTARY_MODULES = ("rope_utils", "rotary_pos_embedding", "yarn_rotary_pos_embedding")


def adapt() -> None:
    """Apply every adaptation; call once, after Megatron is imported."""
    installed = version("megatron-core")
    if installed != KNOWN_VERSION:
        raise SeedmillError(f"megatron-core {installed} was not tried without CUDA: install {KNOWN_VERSION}, or use a GPU")
    # rotary frequencies, gradient buffers, pipeline and tensor-parallel receives ask where they are
    torch.cuda.current_device = lambda: CPU  # type: ignore[assignment]
    # batched pipeline sends and checkpoint writers wait for the device
    torch.cuda.synchronize = lambda device=None: None  # noqa: ARG005
    for name in LITERAL_CUDA_MODULES:
        importlib.import_module(name).__dict__["torch"] = _TorchWithoutCuda()
    _replace_rng_tracker()
    for name in ROTARY_MODULES:
        module = importlib.import_module(f"megatron.core.models.common.embeddings.{name}")
        module.__dict__["get_pos_emb_on_this_cp_rank"] = _positions_of_this_context_rank
    importlib.import_module("megatron.core.models.common.embeddings.rope_utils").__dict__["_apply_rotary_pos_emb_bshd"] = fused.rotate
    _replace_linear_layers()
    _accept_cpu_parameters()
    _mend_distributed_optimizer()
    _keep_freed_memory()
    _leave_compiler_unloaded()


class _TorchWithoutCuda:
    """Stands for the name `torch` in modules that write `device="cuda"` literally."""

    def __getattr__(self, name: str) -> Any:
        value = getattr(torch, name)
        if name in FACTORIES:
            value = _on_cpu(value)
        self.__dict__[name] = value
        return value


def _on_cpu(factory: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(factory)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if str(kwargs.get("device")).startswith("cuda"):
            kwargs["device"] = CPU
        return factory(*args, **kwargs)

    return wrapped


class _RngTracker:
    """`CudaRNGStatesTracker` over the CPU's generator: named streams for weights that differ or agree between ranks."""

    def __init__(self) -> None:
        self.reset()

    def is_initialized(self) -> bool:
        return bool(self._states)

    def reset(self) -> None:
        self._states: dict[str, torch.Tensor] = {}

    def get_states(self) -> dict[str, torch.Tensor]:
        return dict(self._states)

    def set_states(self, states: dict[str, torch.Tensor]) -> None:
        self._states = dict(states)

    def add(self, name: str, seed: int) -> None:
        self._states[name] = torch.Generator().manual_seed(seed).get_state()

    @contextlib.contextmanager
    def fork(self, name: str = "model-parallel-rng") -> Iterator[None]:
        outside = torch.get_rng_state()
        torch.set_rng_state(self._states[name])
        try:
            yield
        finally:
            self._states[name] = torch.get_rng_state()
            torch.set_rng_state(outside)


def _replace_rng_tracker() -> None:
    names = importlib.import_module("megatron.core.tensor_parallel.random").__dict__
    names["_CUDA_RNG_STATE_TRACKER"] = _RngTracker()
    names["_CUDA_RNG_STATE_TRACKER_INITIALIZED"] = True
    names["_get_cuda_rng_state"] = lambda **_: torch.get_rng_state()
    names["_set_cuda_rng_state"] = lambda state, **_: torch.set_rng_state(state)


def _positions_of_this_context_rank(pos_emb: torch.Tensor, seq_dim: int, cp_group: Any) -> torch.Tensor:
    """Chunks r and 2n-1-r of 2n: the balanced (zig-zag) share of a causal sequence; the original pins memory."""
    ranks, rank = cp_group.size(), cp_group.rank()
    chunks = pos_emb.chunk(2 * ranks, dim=seq_dim)
    return torch.cat([chunks[rank], chunks[2 * ranks - rank - 1]], dim=seq_dim)


def _replace_linear_layers() -> None:
    """Where nothing is gathered or reduced, a linear layer needs none of Megatron's own backward pass."""
    layers = importlib.import_module("megatron.core.tensor_parallel.layers").__dict__
    communicating = layers["linear_with_grad_accumulation_and_async_allreduce"]

    @functools.wraps(communicating)
    def linear(x: torch.Tensor, weight: torch.Tensor, **settings: Any) -> torch.Tensor:
        if settings["allreduce_dgrad"] or settings["sequence_parallel"] or settings["bias"] is not None:
            return communicating(x, weight, **settings)
        return fused.linear(x, weight)

    layers["linear_with_grad_accumulation_and_async_allreduce"] = linear


def _accept_cpu_parameters() -> None:
    """Optimisers sort parameters by `param.type() == "torch.cuda.FloatTensor"`: answer so, but only inside them."""
    optimizer = importlib.import_module("megatron.core.optimizer.optimizer")
    distributed = importlib.import_module("megatron.core.optimizer.distrib_optimizer")
    clip = importlib.import_module("megatron.core.optimizer.clip_grads")
    for owner in (distributed.DistributedOptimizer, optimizer.Float16OptimizerWithFloat16Params):
        owner.__init__ = _posing_as_cuda(owner.__init__)
    clipped = _posing_as_cuda(clip.clip_grad_by_total_norm_fp32)
    for module in (clip, optimizer, distributed):
        module.__dict__["clip_grad_by_total_norm_fp32"] = clipped


def _posing_as_cuda(function: Callable[..., Any]) -> Callable[..., Any]:
    real = torch.Tensor.type

    def posed(self: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        name = real(self, *args, **kwargs)
        return name.replace("torch.", "torch.cuda.", 1) if isinstance(name, str) and "cuda" not in name else name

    @functools.wraps(function)
    def inner(*args: Any, **kwargs: Any) -> Any:
        torch.Tensor.type = posed  # type: ignore[method-assign]
        try:
            return function(*args, **kwargs)
        finally:
            torch.Tensor.type = real  # type: ignore[method-assign]

    return inner


def _mend_distributed_optimizer() -> None:
    """Give every parameter its own Adam `step` after a load.

    With torch's AdamW a load raises KeyError('step'), or puts one shared `step` tensor in every state, which is then
    incremented once for each parameter: the bias correction is silently wrong after every resume.
    """
    owner = importlib.import_module("megatron.core.optimizer.distrib_optimizer").DistributedOptimizer
    set_states, load = owner._set_main_param_and_optimizer_states, owner.load_state_dict

    @torch.no_grad()
    def set_states_keeping_step(self: Any, parameter: torch.Tensor, tensors: dict[str, Any]) -> Any:
        group, order = self.model_param_group_index_map[parameter]
        state = self.optimizer.state.get(self.optimizer.param_groups[group]["params"][order], {})
        if "step" in state:
            tensors = {**tensors, "step": state["step"].clone()}
        return set_states(self, parameter, tensors)

    def load_with_own_steps(self: Any, state_dict: dict[str, Any]) -> None:
        load(self, state_dict)
        for state in self.optimizer.state.values():
            if isinstance(state.get("step"), torch.Tensor):
                state["step"] = state["step"].clone()

    owner._set_main_param_and_optimizer_states = set_states_keeping_step
    owner.load_state_dict = load_with_own_steps


def _keep_freed_memory() -> None:
    """Let glibc keep what a step frees for the next one: giving pages back and faulting them in again was a tenth of a step."""
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(M_MMAP_THRESHOLD, 1 << 30)
        set_option(M_TRIM_THRESHOLD, (1 << 31) - 1)
        set_option(M_TOP_PAD, 64 << 20)


def _leave_compiler_unloaded() -> None:
    """Keep torch's optimisers from importing the compiler only to exempt themselves from it: half a CPU-second a process."""
    for method in vars(torch.optim.Optimizer).values():
        exempt = getattr(method, "__wrapped__", None)
        if exempt is not None:
            exempt.__dict__["__dynamo_disable"] = exempt
    torch.optim.Adam.step = torch.no_grad()(torch.optim.Adam.step.__wrapped__)  # type: ignore[method-assign, attr-defined]
