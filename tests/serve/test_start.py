"""What `comface serve` refuses before it starts, and the connections that it ends."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from free_port import free_port

from comface.cli import main
from comface.serve.server import Protocol, listening


def test_a_model_that_is_not_there_and_a_port_in_use_are_refused_at_once(
    random_model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--model", f"{random_model}x"]) == 65
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main(["serve", "--model", random_model, "--port", str(taken.getsockname()[1])]) == 64
        assert "cannot be used (Address already in use); choose another --host or --port." in capsys.readouterr().err
        metrics = ["serve", "--model", random_model, "--port", "0", "--metrics-port", str(taken.getsockname()[1])]
        assert main(metrics) == 64
    assert "(Address already in use) at 127.0.0.1; choose another --metrics-port" in capsys.readouterr().err


def test_one_port_for_the_service_and_its_metrics_is_refused(
    random_model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    port = str(free_port())
    assert main(["serve", "--model", random_model, "--port", port, "--metrics-port", port]) == 64
    assert f"The metrics port {port} cannot be opened (Address already in use)" in capsys.readouterr().err


class Hurried(Protocol):
    header_s = 0.4


async def answer(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@contextlib.contextmanager
def running(place: socket.socket) -> Any:
    server = uvicorn.Server(uvicorn.Config(answer, http=Hurried, lifespan="off", log_config=None))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[place])))
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()


def test_an_answer_does_not_wait_for_the_clients_acknowledgement(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, begin = [], Hurried.connection_made

    def noted(self: Any, transport: Any) -> None:
        seen.append(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        begin(self, transport)

    monkeypatch.setattr(Hurried, "connection_made", noted)
    with listening("127.0.0.1", 0) as place, running(place):
        place.listen()
        with socket.create_connection(place.getsockname(), 5) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            while client.recv(1000):
                pass
    assert seen == [1]


@pytest.mark.parametrize("first", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /"])
def test_a_client_that_never_ends_its_header_is_disconnected(first: bytes) -> None:
    with listening("127.0.0.1", 0) as place, running(place):
        place.listen()
        began = time.monotonic()
        with socket.create_connection(place.getsockname()) as slow:
            slow.settimeout(5)
            slow.sendall(first)
            with contextlib.suppress(ConnectionResetError):
                while slow.recv(1000):
                    slow.sendall(b"x")  # a byte now and then does not help
        assert time.monotonic() - began < 4


def test_a_connection_that_pauses_between_requests_is_kept() -> None:
    with listening("127.0.0.1", 0) as place, running(place):
        place.listen()
        with socket.create_connection(place.getsockname()) as client:
            for _ in range(2):
                client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                client.settimeout(5)
                found = b""
                while not found.endswith(b"ok"):
                    found += (part := client.recv(1000))
                    assert part
                time.sleep(0.6)
