"""A receiver of webhooks on this machine."""

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Receiver:
    """Answers each POST with the next of some statuses, the last one for ever, and keeps what came.

    Attributes:
        received: path, headers (names in lower case) and body of each request, in order.
        answers: as long as it is cleared, no request is answered.
    """

    def __init__(self, statuses: tuple[int, ...], port: int = 0) -> None:
        received = self.received = []
        came = self._came = threading.Condition()
        left = list(statuses)
        answers = self.answers = threading.Event()
        answers.set()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                with came:
                    received.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
                    status = left.pop(0) if len(left) > 1 else left[0]
                    came.notify_all()
                answers.wait()
                self.send_response(status)
                if status == 302:
                    self.send_header("location", "/elsewhere")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}/hook"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def wait(self, count: int, seconds: float = 120) -> list[tuple[str, dict[str, str], bytes]]:
        """What came, once so many did."""
        with self._came:
            assert self._came.wait_for(lambda: len(self.received) >= count, seconds), self.received
            return list(self.received)


@contextlib.contextmanager
def receiving(*statuses: int, port: int = 0) -> Iterator[Receiver]:
    """A receiver that answers with these statuses, 200 without any."""
    receiver = Receiver(statuses or (200,), port)
    try:
        yield receiver
    finally:
        receiver.answers.set()
        receiver.server.shutdown()
        receiver.server.server_close()
