import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tfprune.data.network import answers


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def test_a_server_that_only_knows_errors_answers():
    class Lost(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(404)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    with HTTPServer(("127.0.0.1", 0), Lost) as server:
        thread = threading.Thread(target=server.handle_request, daemon=True)
        thread.start()
        assert answers(f"http://127.0.0.1:{server.server_port}/", 10.0)
        thread.join()


def test_silence_is_no_answer_and_costs_no_more_than_the_limit():
    with socket.create_server(("127.0.0.1", 0)) as server:
        begin = time.monotonic()
        assert not answers(f"http://127.0.0.1:{server.getsockname()[1]}/", 0.2)
        assert time.monotonic() - begin < 5


def test_closed_port_and_slow_name_look_up(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert not answers(f"http://127.0.0.1:{port}/", 5.0)

    release = threading.Event()

    def slow(*arguments, **options):
        release.wait(20)
        raise OSError("name not known")

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    begin = time.monotonic()
    assert not answers("http://somewhere.invalid/", 0.2)
    assert time.monotonic() - begin < 5
    release.set()
