"""A proxy on loopback before an object store, that fails as networks and stores do: real sockets, real answers."""

import contextlib
import http.client
import http.server
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

__all__ = ["FaultyProxy", "faulty_proxy"]

SLOW_DOWN = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message><RequestId>1</RequestId></Error>"""
DENIED = SLOW_DOWN.replace(b"SlowDown", b"AccessDenied").replace(b"Please reduce your request rate.", b"Access Denied")
INTERNAL = SLOW_DOWN.replace(b"SlowDown", b"InternalError").replace(b"Please reduce your request rate.", b"Sorry.")


ANSWERS = {"slow down": (503, {}, SLOW_DOWN), "error": (500, {}, INTERNAL), "denied": (403, {}, DENIED)}


class FaultyProxy:
    """`fault(method, path)` names what befalls a request: "", one of ANSWERS, "reset", "hang" or "cut"."""

    def __init__(self, upstream: str, port: int) -> None:
        self.address = f"127.0.0.1:{port}"
        self.upstream = upstream
        self.fault: Callable[[str, str], str] = lambda method, path: ""
        self.faults = 0
        self.requests: list[tuple[str, str]] = []


@contextlib.contextmanager
def faulty_proxy(upstream: str) -> Iterator[FaultyProxy]:
    """A proxy for the store at HOST:PORT while it is needed."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.proxy = proxy = FaultyProxy(upstream, server.server_address[1])  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        pass

    def _serve(self) -> None:
        proxy: FaultyProxy = self.server.proxy  # type: ignore[attr-defined]
        body = self._body()
        proxy.requests.append((self.command, self.path))
        fault = proxy.fault(self.command, self.path)
        proxy.faults += bool(fault)
        if fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
        elif fault == "hang":
            time.sleep(8)  # the client gives up before
            self.close_connection = True
        elif fault in ANSWERS:
            self._answer(*ANSWERS[fault])
        else:
            connection = http.client.HTTPConnection(proxy.upstream, timeout=30)
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            data = answer.read()
            headers = {k: v for k, v in answer.getheaders() if k.lower() not in ("connection", "transfer-encoding")}
            connection.close()
            self._answer(answer.status, headers, data, cut=fault == "cut")

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        del self.headers["Transfer-Encoding"]
        return b"".join(parts)

    def _answer(self, status: int, headers: dict[str, str], data: bytes, *, cut: bool = False) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() != "content-length":
                self.send_header(name, value)
        length = next((v for n, v in headers.items() if n.lower() == "content-length"), str(len(data)))
        self.send_header("Content-Length", length if self.command == "HEAD" else str(len(data)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if cut:
            self.close_connection = True
            data = data[: len(data) // 2]
        with contextlib.suppress(OSError):
            self.wfile.write(data)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve
