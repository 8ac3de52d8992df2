"""A front of a bucket that holds the request which stores a manifest, so that a test meets a server in that moment."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx

from serving import http_client, until

Moment = Literal["before", "after"]
_OF_A_CONNECTION = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "content-encoding"})


class HoldingBucket:
    """:ivar url: of the front."""

    def __init__(self, service: str) -> None:
        """:param service: the URL of the bucket's service."""
        self._service = service
        self._moment: Moment | None = None
        self._held, self._gone = threading.Event(), threading.Event()
        self._front = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._front.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._front.server_port}"
        self._thread = threading.Thread(target=self._front.serve_forever, daemon=True)
        self._thread.start()

    def hold(self, moment: Moment) -> None:
        """Hold the next manifest: before the bucket gets it, or after it was stored and before the answer."""
        self._held.clear()
        self._gone.clear()
        self._moment = moment

    def wait(self) -> None:
        """Wait until a manifest is held."""
        until(self._held.is_set, "no manifest is stored")

    def drop(self) -> None:
        """Close the connection of the held request: the bucket never gets it, or its answer is lost."""
        self._gone.set()

    def close(self) -> None:
        self.drop()
        self._front.shutdown()
        self._front.server_close()
        self._thread.join()

    def _holds(self, moment: Moment, method: str, path: str) -> bool:
        """Whether the request was held, which ends its connection."""
        if self._moment != moment or method != "PUT" or not urlsplit(path).path.endswith("/manifest.json"):
            return False
        self._moment = None
        self._held.set()
        self._gone.wait()
        return True

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        bucket = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def __getattr__(self, name: str) -> Any:
                if name.startswith("do_"):
                    return self._forward
                raise AttributeError(name)

            def _forward(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                if bucket._holds("before", self.command, self.path):
                    self.close_connection = True
                    return
                answer = bucket._ask(self.command, self.path, dict(self.headers.items()), body)
                if bucket._holds("after", self.command, self.path):
                    self.close_connection = True
                    return
                with suppress(OSError):  # the server was killed
                    self.send_response_only(answer.status_code)
                    for name, value in answer.headers.items():
                        if name.lower() not in _OF_A_CONNECTION:
                            self.send_header(name, value)
                    size = answer.headers["content-length"] if self.command == "HEAD" else len(answer.content)
                    self.send_header("content-length", str(size))
                    self.end_headers()
                    self.wfile.write(answer.content)

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def _ask(self, method: str, path: str, headers: dict[str, str], body: bytes) -> httpx.Response:
        kept = {name: value for name, value in headers.items() if name.lower() not in _OF_A_CONNECTION}
        with http_client() as http:
            return http.request(method, self._service + path, headers=kept, content=body)


@contextmanager
def holding_bucket(service: str) -> Iterator[HoldingBucket]:
    bucket = HoldingBucket(service)
    try:
        yield bucket
    finally:
        bucket.close()
