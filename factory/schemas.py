"""The Arrow schemas that pass between rooms: problems, conversations and preference pairs."""

import pyarrow as pa

from factory.records import schema_with

PROBLEM = schema_with(
    pa.field("family", pa.string(), nullable=False),
    pa.field("answer", pa.string(), nullable=False),
    pa.field("steps", pa.list_(pa.string()), nullable=False),
    pa.field("solution", pa.string(), nullable=False),
)
"""A question with a known answer. `text` is the question, `steps` the values that a full solution passes through in order,
`solution` JSON from which a program can write the solution in any style (empty for organic questions)."""

MESSAGES = pa.list_(pa.struct([pa.field("role", pa.string(), nullable=False), pa.field("content", pa.string(), nullable=False)]))

CONVERSATION = schema_with(
    pa.field("domain", pa.string(), nullable=False),
    pa.field("messages", MESSAGES, nullable=False),
)
"""A chat for supervised fine-tuning. `text` is the canonical ChatML string of `messages`."""

TOKENS = pa.list_(pa.int32())

PAIR = schema_with(
    pa.field("domain", pa.string(), nullable=False),
    pa.field("question", pa.string(), nullable=False),
    pa.field("prompt", TOKENS, nullable=False),
    pa.field("chosen", TOKENS, nullable=False),
    pa.field("rejected", TOKENS, nullable=False),
    pa.field("evidence", pa.string(), nullable=False),
)
"""A preference pair in token ids: `chosen` is preferred to `rejected` after `prompt` (the ChatML query and any answer prefix).
`question` is the id of the question's record, `evidence` JSON: estimates, sample sizes, scores."""
