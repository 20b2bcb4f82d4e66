"""A small OpenAI-compatible server in a thread: counts what it is asked, and fails or dawdles on demand."""

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Callable[[str], str]


class ChatServer:
    """Answers chat completions with `reply(last message)`; `statuses` are given first, one for each request."""

    def __init__(self, reply: Reply = lambda text: f"echo {text}", statuses: tuple[int, ...] = (), delay: float = 0.0) -> None:
        self.reply, self.statuses, self.delay = reply, list(statuses), delay
        self.asked: list[str] = []
        self.active = self.most_active = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> "ChatServer":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def respond(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        with self._lock:
            text = body["messages"][-1]["content"]
            self.asked.append(text)
            self.active += 1
            self.most_active = max(self.most_active, self.active)
            status = self.statuses.pop(0) if self.statuses else 200
        time.sleep(self.delay)
        with self._lock:
            self.active -= 1
        if status != 200:
            return status, {"error": {"message": f"status {status}"}}
        message = {"role": "assistant", "content": self.reply(text)}
        usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        choice = {"index": 0, "message": message, "finish_reason": "length" if "cut me" in text else "stop"}
        return 200, {"id": "1", "object": "chat.completion", "created": 0, "model": body["model"], "choices": [choice], "usage": usage}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, value = server.respond(body)
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
