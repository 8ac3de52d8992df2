"""Readers of event streams that run beside a test."""

import json
import threading
from contextlib import suppress

import httpx

from serving import Server


class StreamReader(threading.Thread):
    """Reads the event stream of a task or an instance from a server, until it or the server ends.

    :ivar last: name of the last event.
    :ivar percents: the progress in each event of a task.
    """

    def __init__(self, server: Server, path: str) -> None:
        super().__init__(daemon=True)
        self._request = server.signed("GET", path, Accept="text/event-stream")
        self.percents: list[int] = []
        self.last = ""
        self.start()

    def run(self) -> None:
        with suppress(httpx.RemoteProtocolError), httpx.Client(timeout=60) as http:
            for line in http.send(self._request, stream=True).iter_lines():
                name, _, value = line.partition(": ")
                if name == "event":
                    self.last = value
                elif name == "data" and "progress" in (event := json.loads(value)):
                    self.percents.append(event["progress"])
