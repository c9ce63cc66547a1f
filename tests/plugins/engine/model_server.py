"""A small model server that speaks as vLLM and as SGLang do, over a model computed plainly by transformers.

It answers with the shapes of the real ones: prompt_logprobs by token id with null first, minus infinity as -9999, lists
that begin with `logprob_start_len`, softmax unless `use_activation` is false. `spoil` and `refuse` make it misbehave.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import torch

VLLM, SGLANG = "vllm", "sglang"


class ModelServer:
    """Serves `model` at `url` until `close`.

    `requests` are the (path, body, headers) seen. `spoil(path, answer)` may change an answer; `refuse` holds statuses
    with which the next requests are answered, None for a connection that is cut, or (status, headers, body).
    """

    def __init__(self, model, *, name, version="0.15.0", window=512, served=None, key=None):
        self.model = model
        self.name, self.version, self.window, self.key = name, version, window, key
        self.served = served or [name]
        self.requests, self.refuse, self.connections = [], [], 0
        self.spoil = lambda path, answer: answer
        self.lock = threading.Lock()
        self.under_way = self.most_under_way = 0
        self.before = lambda: None
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                super().setup()
                owner.connections += 1

            def do_GET(self):
                owner.handle(self, None)

            def do_POST(self):
                owner.handle(self, json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass  # a client that hangs up

        self.http = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def close(self):
        if self.thread.is_alive():
            self.stop()

    def stop(self):
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()

    def handle(self, handler, body):
        with self.lock:
            self.requests.append((handler.path, body, dict(handler.headers)))
            refused = self.refuse.pop(0) if self.refuse else 200
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            self.before()
            self.answer(handler, body, refused)
        finally:
            with self.lock:
                self.under_way -= 1

    def answer(self, handler, body, refused):
        if refused is None:
            handler.close_connection = True
            handler.connection.close()
            return
        status, headers, answer = refused if isinstance(refused, tuple) else (refused, {}, None)
        if status != 200:
            answer = answer or {"error": {"message": "no luck", "type": "Error", "param": None, "code": status}}
        elif self.key is not None and handler.headers.get("Authorization") != f"Bearer {self.key}":
            status, answer = 401, {"error": "Unauthorized"}
        else:
            status, answer = self.route(handler.path, body)
        payload = json.dumps(self.spoil(handler.path, answer)).encode()
        handler.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": len(payload), **headers}.items():
            handler.send_header(name, str(value))
        handler.end_headers()
        handler.wfile.write(payload)

    def route(self, path, body):
        paths = {
            "/v1/models": self.models,
            "/version": lambda _: {"version": self.version},
            "/v1/completions": self.completions,
            "/pooling": self.pooling,
            "/generate": self.generate,
            "/classify": self.classify,
        }
        if path not in paths:
            return 404, {"detail": "Not Found"}
        longest = max(map(len, (body or {}).get("prompt") or (body or {}).get("input_ids") or [[]]))
        if longest > self.window:
            return 400, {"error": {"message": f"{longest} tokens are more than {self.window}", "code": 400}}
        return 200, paths[path](body)

    def models(self, _):
        cards = [{"id": name, "object": "model", "root": name, "max_model_len": self.window} for name in self.served]
        return {"object": "list", "data": cards}

    def completions(self, body):
        assert body["model"] == self.name
        assert (body["max_tokens"], body["prompt_logprobs"]) == (1, 0)
        choices = []
        for index, ids in enumerate(body["prompt"]):
            found = [
                {str(token): {"logprob": max(value, -9999.0), "rank": 1, "decoded_token": "x"}}
                for token, value in zip(ids[1:], self.next_logprobs(ids), strict=True)
            ]
            choices.append({"index": index, "text": "x", "finish_reason": "length", "prompt_logprobs": [None, *found]})
        return {"object": "text_completion", "choices": choices, "usage": {}}

    def generate(self, body):
        assert (body["return_logprob"], body["sampling_params"]["max_new_tokens"]) == (True, 0)
        last = self.model.config.vocab_size - 1
        answers = []
        for ids, start in zip(body["input_ids"], body["logprob_start_len"], strict=True):
            values = [None, *self.next_logprobs(ids)[start:]]
            named = [token if token < last else 0 for token in ids[start:]]
            tokens = [[value, token, None] for value, token in zip(values, named, strict=True)]
            answers.append({"text": "", "meta_info": {"prompt_tokens": len(ids), "input_token_logprobs": tokens}})
        return answers

    def pooling(self, body):
        activate = body.get("use_activation", True)
        made = []
        for index, ids in enumerate(body["input"]):
            logits = self.logits(ids) if body["task"] == "token_classify" else self.logits(ids)[-1]
            made.append(
                {"index": index, "object": "pooling", "data": (logits.softmax(-1) if activate else logits).tolist()}
            )
        return {"object": "list", "data": made, "usage": {"prompt_tokens": sum(map(len, body["input"]))}}

    def classify(self, body):
        return [
            {"embedding": self.logits(ids)[-1].tolist(), "meta_info": {"prompt_tokens": len(ids)}}
            for ids in body["input_ids"]
        ]

    def next_logprobs(self, ids):
        rows = self.logits(ids).double().log_softmax(-1)[:-1]
        return rows.gather(1, torch.tensor(ids[1:], dtype=torch.long)[:, None])[:, 0].tolist()

    def logits(self, ids):
        """What the model says at each token; of a sequence classifier, what it says of the whole."""
        with torch.inference_mode():
            logits = self.model(torch.tensor([ids])).logits
        return logits[0].float() if logits.dim() == 3 else logits.float()
