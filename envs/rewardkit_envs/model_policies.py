"""Policies that ask a language model: over HTTP, through LangChain, or with transformers in this process.

Not covered: serving models, and training them.
"""

from __future__ import annotations

import importlib
import json
import os
import random as random_
import threading
import time
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np

from rewardkit.errors import ConfigError, MissingExtraError
from rewardkit.serialize.writing import message_to_json
from rewardkit.types import Message
from rewardkit_envs.policies import PolicyError

_RETRIED = (408, 409, 425, 429, 500, 502, 503, 504, 529)
_LONGEST_WAIT = 60.0


class OpenAIPolicy:
    """Asks a server that speaks OpenAI's chat completions.

    `url` is that of the server, with or without `/v1`. Without `model` it is the first that the server lists. The key
    is in the environment variable `api_key_env`, if there is one. `extra` goes into the body of every request
    (`{"top_p": 0.9}`); `send_seed` false leaves out the seed, for servers that refuse it. `timeout` is in seconds.
    What may pass (no connection, status 429, 5xx) is tried `retries` times more, after `wait` seconds and then twice as
    long each time, or as the server says. A tool call that the server has parsed becomes an action in OpenAI's JSON.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        temperature: float = 1.0,
        max_tokens: int = 1024,
        extra: Mapping[str, Any] | None = None,
        send_seed: bool = True,
        timeout: float = 300.0,
        retries: int = 5,
        wait: float = 0.5,
        api_key_env: str = "OPENAI_API_KEY",
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"openai:{url}: the URL must begin with http:// or https://")
        base = url.rstrip("/").removesuffix("/chat/completions")
        self._base = base if base.endswith("/v1") else f"{base}/v1"
        self._body = {"temperature": temperature, "max_tokens": max_tokens, **(extra or {})}
        self._model: str | PolicyError | None = model
        self._send_seed = send_seed
        self._timeout, self._retries, self._wait = timeout, retries, wait
        key = os.environ.get(api_key_env)
        self._headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
        self._lock = threading.Lock()

    def act(self, env: Any, random: np.random.Generator, /) -> str:
        """Return what the model says to the dialogue so far; raises PolicyError."""
        body = {"model": self._model_name(), "messages": _chat(env.messages), **self._body}
        if self._send_seed:
            body["seed"] = int(random.integers(2**31))
        answer = self._ask("/chat/completions", body)
        try:
            message = answer["choices"][0]["message"]
            return _action(message.get("content"), message.get("tool_calls"))
        except (LookupError, TypeError, AttributeError):
            raise PolicyError(f"{self._base} gave no chat completion: {json.dumps(answer)[:300]}") from None

    def _model_name(self) -> str:
        with self._lock:
            if self._model is None:
                self._model = self._first_model()
        if isinstance(self._model, PolicyError):  # who comes later need not wait for the same silence
            raise self._model
        return self._model

    def _first_model(self) -> str | PolicyError:
        try:
            return str(self._ask("/models")["data"][0]["id"])
        except PolicyError as error:
            return error
        except (LookupError, TypeError):
            return PolicyError(f"{self._base} lists no model: name one with model=...")

    def _ask(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        given = None if body is None else json.dumps(body).encode()
        request = Request(self._base + path, data=given, headers=self._headers)  # noqa: S310  http or https, see above
        wait, why = self._wait, ""
        for attempt in range(self._retries + 1):
            if attempt:
                time.sleep(min(wait, _LONGEST_WAIT) * random_.uniform(0.8, 1.2))  # noqa: S311  only to spread the load
            wait = self._wait * 2**attempt
            try:
                with urlopen(request, timeout=self._timeout) as answer:  # noqa: S310
                    return json.load(answer)
            except HTTPError as error:
                with error:
                    why = f"status {error.code}: {error.read(300).decode(errors='replace')}"
                if error.code not in _RETRIED:
                    raise PolicyError(f"{self._base}{path} refuses: {why}") from None
                wait = max(wait, _seconds(error.headers.get("Retry-After")))
            except (OSError, HTTPException, ValueError) as error:
                why = f"{type(error).__name__}: {error}"
        raise PolicyError(f"{self._base}{path} gave no answer in {self._retries + 1} attempts: {why}")


class ChatModelPolicy:
    """Asks a LangChain `BaseChatModel`, or anything whose `invoke` takes a list of messages."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def act(self, env: Any, random: np.random.Generator, /) -> str:  # noqa: ARG002  the model has its own
        """Return what the model says to the dialogue so far."""
        answer = self._model.invoke(_chat(env.messages))
        calls = [_call(**call) for call in getattr(answer, "tool_calls", None) or ()]
        return _action(answer.content, calls)


class TransformersPolicy:
    """Generates with a model of transformers in this process, one action at a time.

    `path` is a folder, or a name that transformers knows. `temperature` 0 takes the likeliest tokens; else the tokens
    drawn follow the seed of the episode. For many episodes serve the model, and use OpenAIPolicy.
    """

    def __init__(
        self, path: str, *, temperature: float = 1.0, max_tokens: int = 512, device: str | None = None
    ) -> None:
        self._path, self._device = path, device
        self._options: dict[str, Any] = {"max_new_tokens": max_tokens, "do_sample": temperature > 0}
        if temperature > 0:
            self._options["temperature"] = temperature
        self._loaded: tuple[Any, Any] | None = None
        self._lock = threading.Lock()

    def act(self, env: Any, random: np.random.Generator, /) -> str:
        """Return what the model goes on with after the dialogue so far."""
        torch = _import("torch")
        with self._lock, torch.random.fork_rng(), torch.no_grad():
            if self._loaded is None:
                self._loaded = self._load(torch)
            model, tokenizer = self._loaded
            given = _encoded(tokenizer, _chat(env.messages)).to(model.device)
            torch.manual_seed(int(random.integers(2**31)))
            made = model.generate(**given, **self._options)
            return _clean(tokenizer.decode(made[0, given["input_ids"].shape[1] :], skip_special_tokens=True))

    def _load(self, torch: Any) -> tuple[Any, Any]:
        transformers = _import("transformers")
        device = self._device or ("cuda" if torch.cuda.is_available() else "cpu")
        model = transformers.AutoModelForCausalLM.from_pretrained(self._path).to(device).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(self._path)
        if model.generation_config.pad_token_id is None:
            model.generation_config.pad_token_id = tokenizer.eos_token_id
        return model, tokenizer


def _encoded(tokenizer: Any, messages: Sequence[Mapping[str, Any]]) -> Any:
    """Return the tokens of a dialogue; without a chat template they are those of the contents, one below the other."""
    if tokenizer.chat_template is None:
        text = "".join(f"{message['content']}\n" for message in messages)
        return tokenizer(text, return_tensors="pt", return_token_type_ids=False)
    return tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)


def _chat(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Return messages in OpenAI's shape; what a tool gave to no call is the user's."""
    chat = [{key: value for key, value in message_to_json(m).items() if key != "metadata"} for m in messages]
    for message in chat:
        if message["role"] == "tool" and "tool_call_id" not in message:
            message["role"] = "user"
    return chat


def _call(*, name: str, args: Any, id: str | None = None, **_: Any) -> dict[str, Any]:  # noqa: A002  as LangChain has it
    return {"id": id or "", "type": "function", "function": {"name": name, "arguments": json.dumps(args)}}


def _action(content: Any, calls: Sequence[Any] | None) -> str:
    """Return the action that a message is: its tool calls as JSON, or its text."""
    if calls:
        return _clean(json.dumps({"tool_calls": list(calls)}))
    if isinstance(content, str) or content is None:
        return _clean(content or "")
    return _clean("".join(part if isinstance(part, str) else part.get("text", "") for part in content))


def _clean(text: str) -> str:
    return text.encode(errors="replace").decode()  # half a surrogate pair cannot be written to a file


def _seconds(text: str | None) -> float:
    return float(text) if text and text.strip().isdecimal() else 0.0


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError(f"the policy 'hf' needs {name!r} ({error}): pip install torch transformers") from error
