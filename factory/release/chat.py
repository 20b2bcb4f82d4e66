"""ChatML as templates that other programs read: Jinja for Hugging Face and llama.cpp, Go for Ollama.

Two of the three faults of Phi-4's first release lay here: the assistant's header was always appended, and a chat had no end
(EOS was `<|endoftext|>`). So the header depends on `add_generation_prompt`, and the end of a turn is the end of sequence.
"""

from factory.tokens.tokenizer import IM_END, IM_SEP, IM_START

JINJA = (
    "{% for message in messages %}"
    f"{{{{ '{IM_START}' + message['role'] + '{IM_SEP}' + message['content'] + '{IM_END}' }}}}"
    "{% endfor %}"
    f"{{% if add_generation_prompt %}}{{{{ '{IM_START}assistant{IM_SEP}' }}}}{{% endif %}}"
)

GO = f"{{{{- range .Messages }}}}{IM_START}{{{{ .Role }}}}{IM_SEP}{{{{ .Content }}}}{IM_END}{{{{ end }}}}{IM_START}assistant{IM_SEP}"
"""Ollama renders its template only to ask for an answer, so the header is always due there."""
