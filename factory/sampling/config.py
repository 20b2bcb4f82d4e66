"""The part of a section that says which engine samples, and how.

What can change a completion belongs to an artefact's identity: the engine, the type of the weights, the slots. Where a server
is reached and how hard it is driven do not, so they stand in an `address` of their own, which the identity leaves out. The key
is in neither: a recipe names the environment variable that holds it.
"""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from factory.settings import Section


class LocalEngine(Section):
    """PyTorch in the job's own process. All values can change the last bits of a log-probability, so they belong to the identity."""

    engine: Literal["local"] = Field(default="local", exclude=True)
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """The type of weights and of matrix products; logits and softmax are always float32."""
    slots: int = Field(default=256, ge=1, le=65_536)
    """How many sequences decode side by side."""
    device: Literal["cpu", "gpu"] = "cpu"
    """Where: `gpu` is the first that the job sees."""


class ServerAddress(Section):
    """How a server is reached from this machine; nothing here changes what it answers."""

    base_url: str = Field(
        default="http://127.0.0.1:8000/v1",
        description="root of the OpenAI-compatible interface; `{checkpoint}` in it stands for the asset's name, where several are asked",
    )
    api_key_env: str = Field(default="SEEDMILL_SERVER_KEY", description="name of the environment variable that holds the key, if any")
    max_concurrency: int = Field(default=64, ge=1, le=4096, description="sequences in flight at once")
    timeout: float = Field(default=600.0, gt=0, description="seconds before a request is given up and tried again")
    max_retries: int = Field(default=6, ge=0, le=50, description="further tries after status 429, a 5xx or a lost connection")


class ServerEngine(Section):
    """A completions server that holds the checkpoint, for models too large for the job's own process (docs/sampling.md)."""

    engine: Literal["server"]
    kind: Literal["vllm", "llama.cpp"] = Field(description="whose extensions of the interface are spoken: token ids, stop ids, log-probs")
    log_probs: Literal["raw", "processed"] = Field(
        default="raw", description="vllm's --logprobs-mode: `processed` is needed for any temperature but 1 and for top-p"
    )
    address: ServerAddress = ServerAddress()


def _engine(value: Any) -> str:
    return value.get("engine", "local") if isinstance(value, dict) else getattr(value, "engine", "")


SamplingConfig = Annotated[
    Annotated[LocalEngine, Tag("local")] | Annotated[ServerEngine, Tag("server")],
    Discriminator(
        _engine,
        custom_error_type="engine",
        custom_error_message="engine must be `local` or `server`",
    ),
]
"""A recipe that names no engine means the local one."""
