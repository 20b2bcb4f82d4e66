"""The recipe's sections for what is released. Each asset gets its own, so that another GGUF type leaves the model itself fresh."""

from typing import Annotated, Literal

from pydantic import Field

from factory.settings import Section

ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}$", description="the name that the model is released under")]


class HuggingFaceConfig(Section):
    """The section of `hugging_face_model`."""

    model_name: ModelName = "seedmill-tiny"
    parity_prompts: int = Field(default=8, ge=1, le=256, description="prompts on which exported and trained model are compared")
    max_logit_difference: float = Field(default=1e-4, gt=0, description="largest absolute difference of a logit that passes")


class GgufConfig(Section):
    """The section of `gguf_model`."""

    model_name: ModelName = "seedmill-tiny"
    tensor_type: Literal["F32", "F16"] = Field(default="F16", description="how matrices are stored; vectors are always F32")


class CardConfig(Section):
    """The section of `model_card`."""

    model_name: ModelName = "seedmill-tiny"
    license: str = Field(default="apache-2.0", description="the licence that the weights are released under")


class ReleaseConfig(Section):
    """The release part of a recipe: one section for each asset."""

    hugging_face: HuggingFaceConfig = HuggingFaceConfig()
    gguf: GgufConfig = GgufConfig()
    card: CardConfig = CardConfig()
