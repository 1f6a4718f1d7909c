"""An HTTP/1.1 proxy that does to requests what a test tells it to.

    with FaultProxy("127.0.0.1", 9000) as proxy:
        proxy.fail("PUT", times=2)                # the next two PUTs get a 503
        proxy.at_write(3, DEAD)                   # the fourth write, and all that comes after it, is refused
        proxy.fail("GET /bucket/key", action=cut_answer(1000))
        client(endpoint=proxy.url) ...
        assert proxy.writes == [("PUT", "/bucket/key"), ...]

Bytes pass unchanged, the Host header too, so that signatures stay valid. Rules are asked in the order in which they
were made; the first that matches and is not used up decides. Bodies are held in memory. No TLS.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Literal
from urllib.parse import unquote

WRITES = frozenset({"PUT", "POST", "DELETE"})


@dataclass(frozen=True)
class Request:
    """One request as it came in. `write` is its number among the writes, from 0, or None for a read."""

    method: str
    path: str  # percent-decoded, with the query
    number: int
    write: int | None
    headers: dict[str, str] = field(repr=False)  # names in lower case
    body: bytes = field(repr=False)


@dataclass(frozen=True)
class Action:
    """What to do with a request; use the names below."""

    kind: Literal[
        "pass", "answer", "drop", "drop_answer", "cut_answer", "flip_answer", "flip_request", "dead", "dead_after"
    ]
    at: int = 0  # byte of the body
    status: int = 0
    text: bytes = b""
    content_type: str = "application/xml"
    headers: tuple[tuple[str, str], ...] = ()  # more of them, in an answer or added to that of the store
    hidden: tuple[str, ...] = ()  # names of headers that are left out of the answer
    before: Callable[[Request], None] | None = None
    after: Callable[[Request], None] | None = None


PASS = Action("pass")
DROP = Action("drop")  # the connection breaks before the store hears anything
DROP_ANSWER = Action("drop_answer")  # the store has done it, and nobody is told
DEAD = Action("dead")  # this request and every later one is refused, until `reset`
DEAD_AFTER = Action("dead_after")  # the store has done it, nobody is told, and every later one is refused
SWALLOW = Action("answer", status=200)  # 200, and the store hears nothing


def answer(code: int, text: bytes, content_type: str = "application/xml") -> Action:
    """Any answer, without asking the store."""
    return Action("answer", status=code, text=text, content_type=content_type)


def status(code: int, s3_code: str = "SlowDown", message: str = "a fault made by a test", **headers: str) -> Action:
    """An error as S3 words it, without asking the store. `retry_after="7"` is the header `retry-after: 7`."""
    text = f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{s3_code}</Code><Message>{message}</Message></Error>"
    more = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return replace(answer(code, text.encode()), headers=more)


def tell(**headers: str) -> Action:
    """Pass the request, and add headers to the answer; `x_amz_a="b"` is `x-amz-a: b`."""
    return Action("pass", headers=tuple((name.replace("_", "-"), value) for name, value in headers.items()))


def conceal(*names: str) -> Action:
    """Pass the request, and leave headers out of the answer."""
    return Action("pass", hidden=names)


def cut_answer(after: int) -> Action:
    """Break the connection after so many bytes of the answer's body."""
    return Action("cut_answer", at=after)


def flip_answer(at: int) -> Action:
    """Change one byte of the answer's body."""
    return Action("flip_answer", at=at)


def flip_request(at: int) -> Action:
    """Change one byte of the request's body. Over HTTP the SDK signs the body, so most stores refuse it."""
    return Action("flip_request", at=at)


def call(before: Callable[[Request], None] | None = None, after: Callable[[Request], None] | None = None) -> Action:
    """Pass the request, and call something before the store hears it or after it has answered."""
    return Action("pass", before=before, after=after)


Match = str | Callable[[Request], bool]


@dataclass
class _Rule:
    match: Callable[[Request], bool]
    action: Action
    left: int | None  # None: for ever


class FaultProxy:
    """A proxy on a free port of this machine, in front of one server."""

    def __init__(self, upstream_host: str, upstream_port: int) -> None:
        self._upstream = (upstream_host, upstream_port)
        self._lock = threading.Lock()
        self._rules: list[_Rule] = []
        self._seen: list[tuple[str, str]] = []
        self._write_count = 0
        self._is_dead = False
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    # What a test says

    def fail(
        self,
        match: Match = lambda _: True,
        *,
        times: int | None = 1,
        action: Action | None = None,
        first: bool = False,
    ) -> None:
        """Do `action` to the next `times` requests that match; None is for ever.

        Args:
            match: A function, or text: a method (`PUT`), a part of the path (`/bucket/`), or both with a space between.
            times: How often.
            action: 503 SlowDown, if nothing else is said. Mind that an SDK repeats a request.
            first: Ask this rule before those that are there.
        """
        rule = _Rule(match if callable(match) else _matcher(match), action or status(503), times)
        with self._lock:
            self._rules.insert(0 if first else len(self._rules), rule)

    def at_write(self, n: int, action: Action) -> None:
        """Do `action` to the write (PUT, POST, DELETE) number `n`, from 0, counted since the last `reset`."""
        self.fail(lambda request: request.write == n, action=action)

    def die(self) -> None:
        """Refuse everything from now on, also what is under way."""
        with self._lock:
            self._is_dead = True
            for connection in self._open:
                _break(connection)

    def reset(self) -> None:
        """Forget rules and requests, and live again."""
        with self._lock:
            self._rules.clear()
            self._seen.clear()
            self._write_count = 0
            self._is_dead = False

    @property
    def requests(self) -> list[tuple[str, str]]:
        """Method and path (percent-decoded, with query) of every request since the last `reset`, in order."""
        with self._lock:
            return list(self._seen)

    @property
    def writes(self) -> list[tuple[str, str]]:
        """Those of the requests that write."""
        return [request for request in self.requests if request[0] in WRITES]

    def __enter__(self) -> FaultProxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        # Closing alone would leave `accept` waiting.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.die()

    # What happens

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                if self._is_dead:
                    _break(connection)
                    connection.close()
                    continue
                self._open.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, connection.makefile("rb") as reader:
                while self._one(connection, reader):
                    pass
        except OSError:
            pass  # the client hung up, or the test killed the connection
        finally:
            with self._lock:
                self._open.discard(connection)

    def _one(self, connection: socket.socket, reader: socket.SocketIO) -> bool:
        """Serve one request. False where the connection is over."""
        head = _read_head(reader)
        if not head:
            return False
        fields = _fields(head)
        if fields.get("expect", "").lower() == "100-continue":
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            head = _without(head, "expect")
        body = _read_body(reader, fields)
        method, path, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
        request, action = self._decide(method, unquote(path), fields, body)

        if action.kind in {"drop", "dead"}:
            _break(connection)
            return False
        if action.kind == "answer":
            text = b"" if method == "HEAD" else action.text
            first = f"HTTP/1.1 {action.status} Fault\r\nContent-Type: {action.content_type}\r\n"
            first += _lines(action.headers)
            connection.sendall(f"{first}Content-Length: {len(text)}\r\n\r\n".encode() + text)
            return True
        if action.before is not None:
            action.before(request)
        if action.kind == "flip_request":
            body = _flipped(body, action.at)
        answer_head, answer_body, keep = self._forward(method, head, body)
        if action.after is not None:
            action.after(request)
        with self._lock:
            gone = self._is_dead  # a dead store has no answer, even to what it did before
        if gone or action.kind in {"drop_answer", "dead_after"} or not answer_head:
            _break(connection)
            return False
        if action.kind == "cut_answer":
            connection.sendall(answer_head + answer_body[: action.at])
            connection.shutdown(socket.SHUT_RDWR)  # an orderly end: what was sent still arrives
            return False
        if action.kind == "flip_answer":
            answer_body = _flipped(answer_body, action.at)
        for name in action.hidden:
            answer_head = _without(answer_head, name)
        if action.headers:
            answer_head = answer_head[:-2] + _lines(action.headers).encode() + b"\r\n"
        connection.sendall(answer_head + answer_body)
        return keep and fields.get("connection", "").lower() != "close"

    def _decide(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[Request, Action]:
        with self._lock:
            write = self._write_count if method in WRITES else None
            self._write_count += method in WRITES
            request = Request(method, path, len(self._seen), write, headers, body)
            self._seen.append((method, path))
            if self._is_dead:
                return request, DEAD
            for rule in self._rules:
                if rule.left != 0 and rule.match(request):
                    rule.left = None if rule.left is None else rule.left - 1
                    self._is_dead = rule.action.kind in {"dead", "dead_after"}
                    return request, rule.action
            return request, PASS

    def _forward(self, method: str, head: bytes, body: bytes) -> tuple[bytes, bytes, bool]:
        """Head and body of the answer, and whether the body's end is told without closing the connection."""
        with socket.create_connection(self._upstream) as upstream, upstream.makefile("rb") as reader:
            # The body goes out while the answer is read: a server may refuse early and stop listening.
            sender = threading.Thread(target=_send, args=(upstream, head + body), daemon=True)
            sender.start()
            answer = _read_head(reader)
            while answer.startswith((b"HTTP/1.1 1", b"HTTP/1.0 1")):  # interim answers, the client had its own
                answer = _read_head(reader)
            code = int(answer.split(b" ", 2)[1]) if answer else 0
            fields = _fields(answer)
            if not answer or method == "HEAD" or code in {204, 304}:
                return answer, b"", True
            if "content-length" in fields or "chunked" in fields.get("transfer-encoding", ""):
                return answer, _read_body(reader, fields), fields.get("connection", "").lower() != "close"
            return answer, reader.read(), False


def _lines(headers: tuple[tuple[str, str], ...]) -> str:
    return "".join(f"{name}: {value}\r\n" for name, value in headers)


def _matcher(text: str) -> Callable[[Request], bool]:
    method, _, path = text.partition(" ")
    if "/" in method or "?" in method:
        method, path = "", text
    return lambda request: method in {"", request.method} and path in request.path


def _read_head(reader: socket.SocketIO) -> bytes:
    """A first line and headers with the empty line, or nothing at the end of the connection."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = reader.readline()
        if not line:
            return b""
        head += line
    return head


def _fields(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}


def _without(head: bytes, name: str) -> bytes:
    lines = head.split(b"\r\n")
    return b"\r\n".join(line for line in lines if not line.lower().startswith(name.encode() + b":"))


def _read_body(reader: socket.SocketIO, fields: dict[str, str]) -> bytes:
    """The body with its chunk framing, if it has one, so that it can be sent on as it is."""
    if "chunked" not in fields.get("transfer-encoding", ""):
        return _read_exactly(reader, int(fields.get("content-length", "0")))
    body = b""
    while True:
        line = reader.readline()
        size = int(line.split(b";")[0], 16)
        body += line
        if size == 0:
            break
        body += _read_exactly(reader, size + 2)
    while line != b"\r\n":  # trailers
        line = reader.readline()
        if not line:
            raise ConnectionError("the body ends early")
        body += line
    return body


def _read_exactly(reader: socket.SocketIO, size: int) -> bytes:
    data = reader.read(size)
    if len(data or b"") != size:
        raise ConnectionError("the body ends early")
    return data or b""


def _send(connection: socket.socket, data: bytes) -> None:
    with suppress(OSError):  # the server stopped listening; its answer says why
        connection.sendall(data)


def _flipped(body: bytes, at: int) -> bytes:
    return body[:at] + bytes([body[at] ^ 0xFF]) + body[at + 1 :]


def _break(connection: socket.socket) -> None:
    with suppress(OSError):  # it is over already
        connection.shutdown(socket.SHUT_RDWR)
