"""HTTP calls to a real server, which answers what a test tells it to."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from flows.core.maintenance import Call, Mask, Phase
from flows.steps.call import make_call
from flows.steps.run import perform

SECRET = "t0ken-7f3e"


class Service(ThreadingHTTPServer):
    """Says 503 so many times, then 200; keeps what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.busy = 0
        self.seen: list[tuple[str, str | None, bytes]] = []
        self.times: list[float] = []


class Handler(BaseHTTPRequestHandler):
    server: Service

    def do_GET(self) -> None:
        server = self.server
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        server.seen.append((f"{self.command} {self.path}", self.headers.get("Authorization"), body))
        server.times.append(time.monotonic())
        if self.path == "/slow":
            time.sleep(2)
        if self.path == "/drip":
            self.send_response(200)
            self.end_headers()
            for _ in range(100):
                self.wfile.write(b".")
                time.sleep(0.05)
            return
        answer = f"starting, you are {self.headers.get('Authorization')}".encode()
        status = 503 if len(server.seen) <= server.busy else 302 if self.path == "/moved" else 200
        if status == 200:
            answer = b'{"status": "UP"}' + b"." * (2 << 20 if self.path == "/large" else 0)
        self.send_response(status)
        if status == 302:
            self.send_header("Location", f"{server.url}/other")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_headers_and_body_reach_the_service(service: Service) -> None:
    headers = {"Authorization": f"Bearer {SECRET}"}
    done = make_call(Call("c", "POST", f"{service.url}/stop?now=1", 5.0, headers=headers, body="größe"))
    assert (done.problem, done.output) == ("", b'{"status": "UP"}')
    assert service.seen == [("POST /stop?now=1", f"Bearer {SECRET}", "größe".encode())]


def test_a_health_check_is_repeated_until_the_answer_is_right(service: Service) -> None:
    service.busy = 3
    done = make_call(Call("c", "GET", service.url, 5.0, contains='"UP"', attempts=10, pause_seconds=0.1))
    assert done.problem == ""
    assert len(service.seen) == 4
    assert all(later - earlier >= 0.1 for earlier, later in zip(service.times, service.times[1:], strict=False))


def test_a_health_check_that_is_never_right_fails_with_the_last_answer(service: Service) -> None:
    service.busy = 9
    headers = {"Authorization": f"Bearer {SECRET}"}
    call = Call("well?", "GET", service.url, 5.0, headers=headers, attempts=2)
    done = perform(call, Phase.AFTER, Mask.of([SECRET]))
    assert done.problem == "the answer has the status 503, expected 200 to 299"
    assert done.output == "starting, you are Bearer ********"
    assert len(service.seen) == 2


def test_a_redirection_is_not_followed_so_that_no_secret_goes_elsewhere(service: Service) -> None:
    done = make_call(Call("c", "GET", f"{service.url}/moved", 5.0))
    assert done.problem == "the answer has the status 302, expected 200 to 299"
    assert len(service.seen) == 1


@pytest.mark.parametrize("path", ["/slow", "/drip"])
def test_a_service_that_takes_too_long_is_not_waited_for(service: Service, path: str) -> None:
    begun = time.monotonic()
    done = make_call(Call("c", "GET", service.url + path, 0.3))
    assert done.problem == "there was no whole answer within 0.3 s"
    assert time.monotonic() - begun < 1.5


def test_a_large_answer_is_cut(service: Service) -> None:
    done = make_call(Call("c", "GET", f"{service.url}/large", 5.0, contains="UP"))
    assert (done.problem, len(done.output), done.cut_end) == ("", 1 << 20, True)


def test_a_service_that_is_not_there_is_a_result_and_no_exception() -> None:
    done = make_call(Call("c", "GET", "http://127.0.0.1:1/", 5.0, attempts=2))
    assert done.problem == "the call failed: [Errno 111] Connection refused"


def test_a_header_that_http_does_not_allow_is_told_without_its_value(service: Service) -> None:
    call = Call("c", "GET", service.url, 5.0, headers={"Authorization": f"Bearer {SECRET}\n"})
    done = perform(call, Phase.BEFORE, Mask.of([f"{SECRET}\n"]))
    assert done.problem == "a header holds characters that HTTP does not allow, such as a line break"
    assert SECRET not in repr(done)
    assert service.seen == []
