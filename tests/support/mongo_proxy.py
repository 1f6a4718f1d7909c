"""A proxy before a MongoDB that cuts connections where a test tells it to.

    with MongoProxy(mongod.host, mongod.port) as proxy:
        proxy.plan(Cut("insert", "invoices", 1, Moment.REPLY))   # the server does the second one, and nobody is told
        client(port=proxy.port, replica_set="rs0") ...
        assert proxy.cuts == 1

Answers name the proxy in place of the server, so that a client that discovers the replica set stays behind it. No TLS,
no compression.
"""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Any

import bson

_LENGTH = struct.Struct("<i")
_HEADER_BYTES = 16
_OP_MSG = 2013
_OP_CODE_AT, _OP_MSG_BODY_AT, _OP_QUERY_NAME_AT = 12, 21, 20


class Moment(StrEnum):
    """Where in a command and its answer the connection breaks."""

    BEFORE = "before"  # the server hears nothing of the command
    WITHIN = "within"  # it hears the beginning of it
    REPLY = "reply"  # it has done it, and nobody is told
    ANSWER = "answer"  # a part of the answer arrives; with more batches that follow unasked, of all of them


@dataclass(frozen=True)
class Cut:
    """One scripted cut.

    Attributes:
        command: As the server calls it, such as `insert`.
        about: The collection, or empty.
        nth: The first of such commands that is hit, from 0.
        moment: Where in it.
        at: Of what is cut in the middle, the bytes that pass.
        times: How many of them are hit; None: the first, and from then on nothing reaches the server.
    """

    command: str
    about: str = ""
    nth: int = 0
    moment: Moment = Moment.BEFORE
    at: int = 0
    times: int | None = 1

    def __str__(self) -> str:
        times = "for good" if self.times is None else f"{self.times}x"
        return f"{self.command} {self.about} {self.nth} {self.moment.value} {self.at} {times}"


class MongoProxy(ThreadingTCPServer):
    """A proxy on a free port of this machine, in front of one server."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, host: str, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Link)
        self.upstream = host, port
        self.port: int = self.server_address[1]
        self.commands: list[tuple[str, str]] = []  # with what each is about, since the last `plan`
        self.cuts = 0  # that were made since the last `plan`
        self._cut: Cut | None = None
        self._dead = False
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()

    def plan(self, cut: Cut | None) -> None:
        """Forget what was, and make this cut when its time comes; None lets everything pass."""
        with self._lock:
            self._cut, self._dead, self.cuts, self.commands = cut, False, 0, []

    def __enter__(self) -> MongoProxy:
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
        self._die()

    # What links ask

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether a new connection is taken at all."""
        return not self._dead

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is what this is for; anything else is a fault of the proxy, and is shown."""
        with suppress(OSError):
            super().handle_error(request, client_address)

    def opened(self, *connections: socket.socket) -> None:
        with self._lock:
            self._open.update(connections)

    def closed(self, *connections: socket.socket) -> None:
        with self._lock:
            self._open.difference_update(connections)

    def planned(self, command: tuple[str, str]) -> Cut | None:
        """The cut that hits a command, if one does."""
        with self._lock:
            nth = self.commands.count(command)
            self.commands.append(command)
            cut = self._cut
            if cut is None or command != (cut.command, cut.about):
                return None
            last = cut.nth + (cut.times or 1)
            return cut if cut.nth <= nth < last else None

    def made(self, cut: Cut) -> None:
        """Count a cut; after one for good nothing lives."""
        with self._lock:
            self.cuts += 1
            self._dead = cut.times is None
        if cut.times is None:
            self._die()

    def _die(self) -> None:
        with self._lock:
            for connection in self._open:
                _break(connection)


class _Link(BaseRequestHandler):
    """One connection of a client, with its own to the server."""

    server: MongoProxy

    def handle(self) -> None:
        self._answer_cut: Cut | None = None
        self._left = 0  # bytes of answers that pass before the cut
        with socket.create_connection(self.server.upstream) as self._upstream:
            ends = self.request, self._upstream
            self.server.opened(*ends)
            answers = threading.Thread(target=self._answers, daemon=True)
            answers.start()
            try:
                with suppress(OSError):
                    self._requests()
            finally:
                for end in ends:
                    _break(end)
                answers.join()
                self.server.closed(*ends)

    def _requests(self) -> None:
        while message := _read_message(self.request):
            cut = self.server.planned(_command(message))
            self._answer_cut = None
            if cut is not None and cut.moment in (Moment.BEFORE, Moment.WITHIN):
                self._upstream.sendall(message[: cut.at])
                self.server.made(cut)
                return
            if cut is not None:
                self._answer_cut, self._left = cut, cut.at if cut.moment is Moment.ANSWER else 0
            self._upstream.sendall(message)

    def _answers(self) -> None:
        real = "{}:{}".format(*self.server.upstream).encode()
        shown = f"127.0.0.1:{self.server.port}".encode()
        assert len(real) == len(shown), "both ports have five digits"
        with suppress(OSError):
            while message := _read_message(self._upstream):
                cut = self._answer_cut
                if cut is not None and self._left < len(message):
                    self.request.sendall(message[: self._left])
                    self.server.made(cut)
                    break
                self._left -= len(message)
                self.request.sendall(message.replace(real, shown))
        _break(self.request)
        _break(self._upstream)


def _read_message(connection: socket.socket) -> bytes:
    """One whole message, or nothing at the end of the connection."""
    length = _read_exactly(connection, _LENGTH.size)
    return length and length + _read_exactly(connection, _LENGTH.unpack(length)[0] - _LENGTH.size)


def _read_exactly(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        got = connection.recv(size - len(data))
        if not got:
            return b""
        data += got
    return bytes(data)


def _command(message: bytes) -> tuple[str, str]:
    """The name of the command in a message, and what it is about."""
    (code,) = _LENGTH.unpack_from(message, _OP_CODE_AT)
    # The first hello of a connection is an OP_QUERY: a name with a zero at its end, two numbers, then the command.
    start = _OP_MSG_BODY_AT if code == _OP_MSG else message.index(b"\0", _OP_QUERY_NAME_AT) + 9
    document = bson.decode(message[start : start + _LENGTH.unpack_from(message, start)[0]])
    name, value = next(iter(document.items()))
    if name == "getMore":
        value = document["collection"]
    if name == "listCollections":
        value = document.get("filter", {}).get("name")
    return name, value if isinstance(value, str) else ""


def _break(connection: socket.socket) -> None:
    with suppress(OSError):  # it is over already
        connection.shutdown(socket.SHUT_RDWR)
