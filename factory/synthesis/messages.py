"""Messages of a chat as others write them: OpenAI's `role` and `content`, ShareGPT's `from` and `value`, plain or as JSON text.

A chat is taken whole or not at all: training on half of one would teach answers to questions that were never put.
"""

import json
import re
from collections.abc import Mapping

from factory.curation.rows import Rejected, text_of
from factory.tokens.tokenizer import EOD, IM_END, IM_SEP, IM_START, PAD

Messages = list[dict[str, str]]

ROLES = {"system": "system", "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant"}
CONTROL = re.compile("|".join(map(re.escape, (EOD, IM_START, IM_END, IM_SEP, PAD))))
"""Names of control tokens. Training encodes them as text, but whoever fills a chat template with such a text makes a turn of it."""


def read_messages(value: object, locator: str) -> Messages | Rejected:
    """The messages of a chat by our roles, or why it is none: an optional system message, then user and assistant in turn."""
    items = _parsed(value) if isinstance(value, str) else value
    if not isinstance(items, list) or not items:
        return Rejected(locator, "no_messages")
    messages: Messages = []
    for item in items:
        message = _message(item, locator)
        if isinstance(message, Rejected):
            return message
        messages.append(message)
    reason = _disorder([message["role"] for message in messages])
    return Rejected(locator, reason) if reason else messages


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _message(item: object, locator: str) -> dict[str, str] | Rejected:
    if not isinstance(item, Mapping):
        return Rejected(locator, "no_messages")
    named, said = ("role", "content") if "role" in item else ("from", "value")
    role, content = item.get(named), text_of(item.get(said), locator)
    if not isinstance(role, str) or role not in ROLES:
        return Rejected(locator, "unknown_role")
    if isinstance(content, Rejected):
        return content
    if CONTROL.search(content):
        return Rejected(locator, "control_token")
    return {"role": ROLES[role], "content": content}


def _disorder(roles: list[str]) -> str:
    """What is wrong with the order of the turns; nothing where it is right."""
    turns = roles[1:] if roles[0] == "system" else roles
    if "assistant" not in turns:
        return "no_assistant_turn"
    return "" if turns == ["user", "assistant"] * (len(turns) // 2) else "roles_do_not_alternate"
