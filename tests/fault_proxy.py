"""A proxy before a server of HTTP that fails as it is told to, request by request.

All that it passes on it passes on unchanged, the `Host` header included: a signed request for the proxy's own address
stays valid, because the server checks the signature against the header.
"""

from __future__ import annotations

import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NamedTuple

_CHUNK_BYTES = 1 << 16


class Request(NamedTuple):
    """What a client asked for."""

    method: str
    target: str


class _HangupError(Exception):
    """The connection to the client must end here."""


@dataclass
class Exchange:
    """One request on its way to the server, and the answer on its way back."""

    request: Request
    head: bytes
    client: socket.socket
    reader: BinaryIO
    upstream: tuple[str, int]
    stopped: threading.Event

    def forward(self, *, after: float = 0, upload_limit: int | None = None, body_limit: int | None = None) -> bool:
        """Pass the request on and the answer back; with a limit, only so many bytes of that body. True if whole."""
        self.stopped.wait(after)
        with socket.create_connection(self.upstream, 60) as server:
            server.sendall(self.head)
            if b"100-continue" in self.head.lower():
                self.client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            if not _pass_on(_body(self.head, self.reader), server, upload_limit):
                return False
            with server.makefile("rb") as answer:
                while (head := _head(answer)).startswith(b"HTTP/1.1 1"):
                    pass
                self.client.sendall(head)
                if self.request.method == "HEAD" or b" 204 " in head[:16] or b" 304 " in head[:16]:
                    return True
                return _pass_on(_body(head, answer, is_answer=True), self.client, body_limit)

    def send_upstream_only(self) -> None:
        """Let the server do what was asked, and keep its answer."""
        with socket.create_connection(self.upstream, 60) as server:
            server.sendall(self.head)
            self.swallow_body(server)
            with server.makefile("rb") as answer:
                while _head(answer).startswith(b"HTTP/1.1 1"):
                    pass

    def swallow_body(self, sink: socket.socket | None = None) -> None:
        """Take the request's body, and give it to nobody or to `sink`."""
        if b"100-continue" in self.head.lower():
            self.client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        for piece in _body(self.head, self.reader):
            if sink:
                sink.sendall(piece)

    def reset(self) -> None:
        """End the connection as a crashed server does."""
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise _HangupError


Act = Callable[[Exchange], None]


@dataclass
class _Fault:
    act: Act
    method: str | None
    part: str
    left: float

    def matches(self, request: Request) -> bool:
        return self.left > 0 and self.method in {None, request.method} and self.part in request.target


@dataclass
class FaultProxy:
    """Faults are used up in the order in which they were asked for; a request without one is passed on.

    Each method takes the number of faults (`times`), and may narrow them to a `method` and to targets that hold `part`.

    Attributes:
        upstream: Address of the server.
        requests: What clients asked for since the start, faults included.
    """

    upstream: tuple[str, int]
    requests: list[Request] = field(default_factory=list)
    _faults: list[_Fault] = field(default_factory=list)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _server: socketserver.ThreadingTCPServer | None = None

    def __enter__(self) -> FaultProxy:
        proxy = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                proxy._serve(self.request)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            block_on_close = False
            request_queue_size = 64

            def handle_error(self, *_: Any) -> None:
                """A client that gave up is no error here."""

        self._server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        if self._server:
            self._server.shutdown()
            self._server.server_close()

    @property
    def endpoint(self) -> str:
        """Its URL."""
        if self._server is None:
            raise RuntimeError("the proxy is not started")
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def answer(self, status: int, *, times: float, method: str | None = None, part: str = "") -> None:
        """Refuse with a status, without asking the server."""

        def act(exchange: Exchange) -> None:
            exchange.swallow_body()
            code = {500: "InternalError", 503: "SlowDown"}.get(status, "Fault")
            body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>a fault</Message></Error>".encode()
            head = f"HTTP/1.1 {status} Fault\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n\r\n"
            exchange.client.sendall(head.encode() + (b"" if exchange.request.method == "HEAD" else body))

        self._add(act, method, part, times)

    def reset(self, *, times: float, method: str | None = None, part: str = "") -> None:
        """Reset the connection instead of asking the server."""
        self._add(Exchange.reset, method, part, times)

    def cut_answer(self, after_bytes: int, *, times: float, method: str = "GET", part: str = "") -> None:
        """End the connection after some bytes of the answer's body."""

        def act(exchange: Exchange) -> None:
            if not exchange.forward(body_limit=after_bytes):
                raise _HangupError

        self._add(act, method, part, times)

    def stall_answer(self, after_bytes: int, *, times: float, method: str = "GET", part: str = "") -> None:
        """Send some bytes of the answer's body, and then nothing any more."""

        def act(exchange: Exchange) -> None:
            if not exchange.forward(body_limit=after_bytes):
                self._stopped.wait()
                raise _HangupError

        self._add(act, method, part, times)

    def cut_upload(self, after_bytes: int, *, times: float, method: str = "PUT", part: str = "") -> None:
        """End both connections after some bytes of the request's body."""

        def act(exchange: Exchange) -> None:
            if not exchange.forward(upload_limit=after_bytes):
                exchange.reset()

        self._add(act, method, part, times)

    def lose_answer(self, *, times: float, method: str | None = None, part: str = "") -> None:
        """Have the server do what was asked, and reset the connection instead of telling so."""

        def act(exchange: Exchange) -> None:
            exchange.send_upstream_only()
            exchange.reset()

        self._add(act, method, part, times)

    def delay(self, seconds: float, *, times: float, method: str | None = None, part: str = "") -> None:
        """Wait before the request is passed on."""

        def act(exchange: Exchange) -> None:
            exchange.forward(after=seconds)

        self._add(act, method, part, times)

    def hang(self, *, times: float, method: str | None = None, part: str = "") -> None:
        """Take the request and never answer."""

        def act(exchange: Exchange) -> None:
            exchange.swallow_body()
            self._stopped.wait()
            raise _HangupError

        self._add(act, method, part, times)

    def heal(self) -> None:
        """Forget all faults that are not used up."""
        with self._lock:
            self._faults.clear()

    def _add(self, act: Act, method: str | None, part: str, times: float) -> None:
        with self._lock:
            self._faults.append(_Fault(act, method, part, times))

    def _next(self, request: Request) -> Act:
        with self._lock:
            self.requests.append(request)
            for fault in self._faults:
                if fault.matches(request):
                    fault.left -= 1
                    return fault.act
        return _pass

    def _serve(self, client: socket.socket) -> None:
        with client.makefile("rb") as reader:
            while head := _head(reader):
                method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
                request = Request(method, target)
                exchange = Exchange(request, head, client, reader, self.upstream, self._stopped)
                try:
                    self._next(request)(exchange)
                except _HangupError:
                    return


def _pass(exchange: Exchange) -> None:
    exchange.forward()


def _head(reader: BinaryIO) -> bytes:
    """Start line and headers with their empty line; nothing at the end of a connection."""
    lines = []
    while line := reader.readline():
        lines.append(line)
        if line == b"\r\n":
            return b"".join(lines)
    return b""


def _body(head: bytes, reader: BinaryIO, *, is_answer: bool = False) -> Iterator[bytes]:
    """The body that belongs to a head, in pieces as they come."""
    headers = {
        name.strip().lower(): value.strip().lower()
        for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:])
    }
    if headers.get(b"transfer-encoding") == b"chunked":
        yield from _chunks(reader)
    elif (length := headers.get(b"content-length")) is not None:
        yield from _exactly(reader, int(length))
    elif is_answer:
        yield from iter(lambda: reader.read(_CHUNK_BYTES), b"")


def _chunks(reader: BinaryIO) -> Iterator[bytes]:
    while line := reader.readline():
        yield line
        size = int(line.split(b";")[0], 16)
        if size == 0:
            while (line := reader.readline()) not in {b"\r\n", b""}:
                yield line
            yield b"\r\n"
            return
        yield from _exactly(reader, size + 2)


def _exactly(reader: BinaryIO, length: int) -> Iterator[bytes]:
    while length > 0 and (piece := reader.read(min(length, _CHUNK_BYTES))):
        length -= len(piece)
        yield piece


def _pass_on(pieces: Iterator[bytes], sink: socket.socket, limit: int | None) -> bool:
    """Send pieces on, up to a limit; whether all of them were sent."""
    sent = 0
    for piece in pieces:
        part = piece if limit is None else piece[: limit - sent]
        sink.sendall(part)
        sent += len(part)
        if len(part) < len(piece):
            return False
    return True
