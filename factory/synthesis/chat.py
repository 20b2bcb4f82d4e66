"""The canonical ChatML string of a conversation, as the Phi-4 template writes it: no line ends between turns."""

from collections.abc import Mapping, Sequence


def chat_text(messages: Sequence[Mapping[str, str]]) -> str:
    """`<|im_start|>ROLE<|im_sep|>CONTENT<|im_end|>` for each message in turn."""
    return "".join(f"<|im_start|>{message['role']}<|im_sep|>{message['content']}<|im_end|>" for message in messages)
