"""Release: the Hugging Face model, the GGUF file and the model card."""

from assets.builder import Group
from assets.checks import ACCOUNTED

GROUP = Group("release", owner="team:release", checks=(ACCOUNTED,))
