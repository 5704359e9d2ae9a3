"""A small HTTP server that speaks remove.bg's protocol as documented, with whatever fault a test asks for."""

from __future__ import annotations

import contextlib
import email.parser
import email.policy
import io
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image

KEY = "test-key-42"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer. ``cut_to`` sends so much of the body under the whole body's length; ``wait`` delays the head."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut_to: int | None = None
    wait: threading.Event | None = None


def error(status: int, title: str, code: str = "", **headers: str) -> Answer:
    """An error in the service's own JSON."""
    body = json.dumps({"errors": [{"title": title, "code": code}]}).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status=status, headers={"Content-Type": "application/json", **named}, body=body)


def cut_out(jpeg: bytes, *, scale: float = 1.0) -> bytes:
    """The service's work on a photo: what is more red than green is foreground; RGBA PNG."""
    photo = Image.open(io.BytesIO(jpeg)).convert("RGB")
    photo = photo.resize((round(photo.width * scale), round(photo.height * scale)))
    rgb = np.asarray(photo)
    alpha = np.where(rgb[..., 0] > rgb[..., 1], 255, 0).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(np.dstack([rgb, alpha])).save(buffer, "PNG")
    return buffer.getvalue()


class RemoveBgServer:
    """``answers`` are given one after another, the last one again and again; ``forms`` and ``keys`` are what came.

    None among the answers stands for the work done properly.
    """

    def __init__(self, answers: Sequence[Answer | None] = (None,), *, credits_left: float | None = 199.0) -> None:
        self.answers = list(answers)
        self.credits_left = credits_left
        self.scale = 1.0
        self.forms: list[dict[str, bytes]] = []
        self.keys: list[str | None] = []
        self.paths: list[str] = []
        self.endpoint = ""

    @contextlib.contextmanager
    def running(self) -> Iterator[RemoveBgServer]:
        """Serve on a free port."""
        with ThreadingHTTPServer(("127.0.0.1", 0), _handler(self)) as server:
            server.daemon_threads = True
            self.endpoint = f"http://127.0.0.1:{server.server_port}/v1.0"
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            try:
                yield self
            finally:
                server.shutdown()
                thread.join()

    def next_answer(self, form: dict[str, bytes]) -> Answer:
        """What to say to a picture."""
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is not None:
            return answer
        headers = {"Content-Type": "image/png", "X-Credits-Charged": "1.0"}
        return Answer(headers=headers, body=cut_out(form["image_file"], scale=self.scale))


def _handler(owner: RemoveBgServer) -> Callable[..., BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            owner.paths.append(self.path)
            owner.keys.append(self.headers["X-Api-Key"])
            form = _form(self.headers["Content-Type"], self.rfile.read(int(self.headers["Content-Length"])))
            owner.forms.append(form)
            self._send(owner.next_answer(form))

        def do_GET(self) -> None:
            owner.paths.append(self.path)
            if owner.credits_left is None:
                self._send(error(500, "no account today"))
                return
            attributes = {"credits": {"total": owner.credits_left, "subscription": 0}, "api": {"free_calls": 50}}
            self._send(Answer(body=json.dumps({"data": {"attributes": attributes}}).encode()))

        def _send(self, answer: Answer) -> None:
            if answer.wait is not None:
                answer.wait.wait(10)
            with contextlib.suppress(ConnectionError):
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body[: answer.cut_to])

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    return Handler


def _form(content_type: str, body: bytes) -> dict[str, bytes]:
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    parts: dict[str, bytes] = {}
    for part in message.iter_parts():
        payload = part.get_payload(decode=True)
        assert isinstance(payload, bytes)
        parts[str(part.get_param("name", header="content-disposition"))] = payload
    return parts
