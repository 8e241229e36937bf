"""A small real web server for tests: the spot advisor's file with an ETag, and ways to misbehave."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

ADVICE: dict[str, Any] = {
    "ranges": [{"index": n} for n in range(5)],
    "spot_advisor": {
        "us-west-2": {
            "Linux": {"g6.xlarge": {"s": 50, "r": 1}, "g5.xlarge": {"s": 60, "r": 4}},
            "Windows": {"g6.xlarge": {"s": 1, "r": 0}},
        },
        "us-east-1": {"Linux": {"g6.xlarge": {"s": "x", "r": 1}, "g5.xlarge": {"s": 40, "r": 9}}},
    },
}


class Server:
    """`mode` is what it does: "well", "slow", "error", "cut" (half the body), "wrong" (another file)."""

    def __init__(self) -> None:
        self.mode = "well"
        self.body = json.dumps(ADVICE).encode()
        self.over = threading.Event()
        self.asked: list[str] = []  # the If-None-Match of every request
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *words: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/advisor.json"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Server:
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.over.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append(request.headers.get("If-None-Match", ""))
        body = b"<html>hello</html>" if self.mode == "wrong" else self.body
        etag = f'"{hashlib.sha256(body).hexdigest()[:12]}"'
        if self.mode == "slow":
            self.over.wait(60.0)
        if self.mode == "error":
            request.send_error(503)
            return
        if request.headers.get("If-None-Match") == etag:
            request.send_response(304)
            request.send_header("ETag", etag)
            request.end_headers()
            return
        request.send_response(200)
        request.send_header("ETag", etag)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body[: len(body) // 2] if self.mode == "cut" else body)
