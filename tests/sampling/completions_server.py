"""A completions server in a thread that speaks as vLLM or as llama.cpp does, and fails or lies on demand."""

import json
import threading
import time
from collections.abc import Callable
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from factory.tokens.tokenizer import Tokenizer

Json = dict[str, Any]
Model = Callable[[Json], list[int]]
LOG_PROB = -0.5


class CompletionsServer:
    """Draws `model(request body)`; `statuses` are answered first, one for each completion asked."""

    def __init__(
        self,
        model: Model,
        tokenizer: Tokenizer,
        *,
        kind: str = "vllm",
        name: str = "sft_checkpoint@v",
        statuses: tuple[int, ...] = (),
        delay: float = 0.0,
        spoil: Callable[[Json], None] = lambda _: None,
        hidden: int = 0,
    ) -> None:
        self.model, self.tokenizer, self.kind, self.name, self.spoil = model, tokenizer, kind, name, spoil
        self.statuses, self.delay, self.hidden = list(statuses), delay, hidden
        self.asked: list[Json] = []
        self.headers: list[Message] = []
        self.active = self.most_active = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> "CompletionsServer":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def complete(self, body: Json) -> tuple[int, Json]:
        with self._lock:
            self.asked.append(body)
            self.active += 1
            self.most_active = max(self.most_active, self.active)
            status = self.statuses.pop(0) if self.statuses else 200
        time.sleep(self.delay)
        with self._lock:
            self.active -= 1
        if status != 200:
            return status, {"error": {"message": f"status {status}"}}
        choice = self.scored(body) if "prompt_logprobs" in body else self.drawn(body)
        self.spoil(choice)
        usage = {"completion_tokens": self.reported(choice)}
        return 200, {"id": "1", "object": "text_completion", "choices": [choice], "usage": usage}

    def reported(self, choice: Json) -> int:
        return len(choice["logprobs"]["content"]) + self.hidden if self.kind == "llama.cpp" else 0

    def drawn(self, body: Json) -> Json:
        tokens = self.model(body)
        choice: Json = {"index": 0, "text": "", "finish_reason": "length" if len(tokens) == body["max_tokens"] else "stop"}
        if self.kind == "vllm":
            return {**choice, "token_ids": tokens, "logprobs": {"token_logprobs": [LOG_PROB] * len(tokens)}}
        return {**choice, "logprobs": {"content": [{"id": token, "logprob": LOG_PROB} for token in tokens]}}

    def scored(self, body: Json) -> Json:
        entries = [{str(token): {"logprob": -float(token)}} for token in body["prompt"][1:]]
        return {"index": 0, "text": "", "finish_reason": "length", "prompt_logprobs": [None, *entries]}

    def get(self) -> Json:
        return {"object": "list", "data": [{"id": self.name, "object": "model", "created": 0, "owned_by": self.kind}]}

    def post(self, path: str, body: Json) -> tuple[int, Json]:
        if path == "/detokenize":
            return 200, {"prompt" if self.kind == "vllm" else "content": self.tokenizer.decode(body["tokens"])}
        return self.complete(body) if path == "/v1/completions" else (404, {"error": {"message": path}})

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.answer(200, server.get())

            def do_POST(self) -> None:
                server.headers.append(self.headers)  # case-insensitive
                self.answer(*server.post(self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))

            def answer(self, status: int, value: Json) -> None:
                data = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.send_header("retry-after-ms", "5")
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                """Keep the tests' output clean."""

        return Handler
