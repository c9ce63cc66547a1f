"""A server that plays the other end of policies."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class Server:
    """Speaks OpenAI's chat completions; `answers` come in order, a number being a status, the last one again."""

    def __init__(self):
        self.lock = threading.Lock()
        self.requests, self.answers, self.headers = [], [{"content": "hello"}], {}
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.reply({"data": [{"id": "served"}]})

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with server.lock:
                    server.requests.append((self.path, dict(self.headers), body))
                    answer = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
                if answer == "hang up":
                    self.connection.close()
                elif isinstance(answer, int):
                    self.reply({"error": "no"}, answer)
                elif isinstance(answer, str):
                    self.reply(answer)
                else:
                    self.reply({"choices": [{"message": {"role": "assistant", **answer}}]})

            def reply(self, answer, status=200):
                text = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
                self.send_response(status)
                for name, value in server.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.handle_error = lambda *_: None
        self.url = f"http://127.0.0.1:{self.http.server_port}"


@pytest.fixture
def server():
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.http.shutdown()
    thread.join()
    server.http.server_close()
