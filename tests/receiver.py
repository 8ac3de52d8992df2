"""A receiver of webhooks, over real HTTP."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ssl import SSLContext
from typing import Any

from standardwebhooks import Webhook


class Receiver:
    """Returns 204 by default, and stores the received requests."""

    def __init__(self, port: int = 0) -> None:
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.answer: Callable[[], int] = lambda: 204
        self.location = ""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status = outer.answer()
                outer.received.append(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(status)
                if outer.location:
                    self.send_header("location", outer.location)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = int(self._server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def secure(self, tls: SSLContext) -> None:
        """Serve HTTPS from now on."""
        self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)

    def events(self, secret: str) -> list[dict[str, Any]]:
        """Events of the last minutes, after the scheme's own library has verified their signatures."""
        return [Webhook(secret).verify(body, headers) for headers, body in list(self.received)]

    def __enter__(self) -> "Receiver":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
