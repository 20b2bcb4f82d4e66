"""`factory chat`: questions to a checkpoint on this machine's CPU. Importing this module imports torch."""

import json
import sys
from dataclasses import dataclass, field
from typing import Self

from factory.errors import SeedmillError
from factory.graph.evaluation import BASE
from factory.preference.questions import Examiner
from factory.sampling.api import SampleRequest
from factory.sampling.config import LocalEngine
from factory.sampling.local import LocalSampler
from factory.store.base import Store
from factory.store.manifest import Manifest
from factory.synthesis.formats import native_prompt
from factory.tokens.tokenizer import load

WEIGHTS = ("hf", "model")


@dataclass
class Chat:
    """A conversation with a checkpoint. A base checkpoint knows no turns: each question is an exercise of its own to it."""

    sampler: LocalSampler
    examiner: Examiner
    base: bool
    temperature: float
    max_new_tokens: int
    messages: list[dict[str, str]] = field(default_factory=list)
    asked: int = 0

    @classmethod
    def open(cls, store: Store, checkpoint: Manifest, *, temperature: float, max_new_tokens: int) -> Self:
        """Open the Hugging Face weights of a version, and the very tokenizer that it was trained with."""
        name = next((output.name for output in checkpoint.outputs if output.name in WEIGHTS), None)
        upstream = next((upstream for upstream in checkpoint.inputs if upstream.asset == "tokenizer"), None)
        tokenizer = store.manifest(upstream.asset, upstream.version) if upstream else None
        if name is None or tokenizer is None:
            raise SeedmillError(f"{checkpoint.asset} is no checkpoint with a tokenizer; name one, such as judged_dpo_checkpoint")
        folder = store.outputs(checkpoint, only=(name,)) / name
        examiner = Examiner(load(store.outputs(tokenizer)))
        return cls(LocalSampler.load(folder, LocalEngine(slots=1)), examiner, checkpoint.asset in BASE, temperature, max_new_tokens)

    def ask(self, question: str) -> str:
        """The answer to a question, given the conversation so far. Each question has a seed of its own, so a session can be repeated."""
        messages = [*self.messages, {"role": "user", "content": question}]
        tokenizer = self.examiner.tokenizer
        prompt = tokenizer.encode(native_prompt(question)) if self.base else tokenizer.encode_chat(messages)
        self.asked += 1
        room = self.sampler.model.shape.positions - len(prompt)
        settings = self.examiner.settings(self.temperature, max(1, min(self.max_new_tokens, room)))
        ((completion,),) = self.sampler.sample([SampleRequest(tuple(prompt))], settings, seed=self.asked)
        answer = self.examiner.text(completion.tokens).strip()
        self.messages = [*messages, {"role": "assistant", "content": answer}]
        return answer

    def stream(self, name: str) -> None:
        """Answer every line of standard input with a line of JSON; one that cannot be answered has `error` in place of `answer`."""
        for question in filter(None, map(str.strip, sys.stdin)):
            line = {"checkpoint": name, "prompt": question}
            try:
                line["answer"] = self.ask(question)
            except SeedmillError as error:
                self.messages = []
                line["error"] = str(error)
            sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")
            sys.stdout.flush()

    def loop(self) -> None:
        """Ask and answer until the end of input. A conversation that outgrew the model is dropped, and the question asked afresh."""
        sys.stdout.write("Ask something; an empty line begins a new conversation, Ctrl-D ends.\n")
        while (line := _read()) is not None:
            if not line:
                self.messages = []
                continue
            try:
                sys.stdout.write(f"{self.ask(line)}\n")
            except SeedmillError as error:
                self.messages = []
                sys.stdout.write(f"({error}; a new conversation begins)\n")


def _read() -> str | None:
    """A line from the user; None at the end of input or on Ctrl-C."""
    try:
        return input("> ").strip()
    except (EOFError, KeyboardInterrupt):
        sys.stdout.write("\n")
        return None
