"""LangChain's tools in an environment: told of as data, called with what a policy wrote. Imports no LangChain.

Any object with `name`, `description` and `invoke` will do; its arguments are described by `tool_call_schema`,
`args_schema` or `args`. Not covered: asynchronous tools, tools that answer with artifacts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rewardkit.errors import ConfigError, RewardkitError
from rewardkit_envs.worlds.world import Tool

_LONGEST = 16_000


def described(tool: Any) -> Tool:
    """Return what an agent is told of a LangChain tool; raises ConfigError for what is none."""
    name = getattr(tool, "name", None)
    if not isinstance(name, str) or not callable(getattr(tool, "invoke", None)):
        raise ConfigError(f"{tool!r} is no LangChain tool: it needs a name, a description and invoke")
    schema: Any = getattr(tool, "tool_call_schema", None) or getattr(tool, "args_schema", None)
    if hasattr(schema, "model_json_schema"):
        schema = schema.model_json_schema()
    if not isinstance(schema, Mapping):
        properties = dict(getattr(tool, "args", {}))
        required = [key for key, kind in properties.items() if "default" not in kind]
        schema = {"type": "object", "properties": properties, "required": required}
    description = " ".join(str(getattr(tool, "description", "")).split())
    return Tool(name=name, description=description, parameters=schema)


def answer_of(tool: Any, arguments: Mapping[str, Any]) -> tuple[str, bool]:
    """Call a tool and return what it says, and whether it ended well.

    A tool that raises is answered with its error: with arguments that a policy wrote, nobody can tell whose fault it
    is. Only errors of rewardkit, such as SandboxError, go on to the caller.
    """
    try:
        said = tool.invoke(dict(arguments))
    except RewardkitError:
        raise
    except Exception as error:  # noqa: BLE001  an isolation point: a tool is other people's code
        return _cut(f"The tool {tool.name} failed: {type(error).__name__}: {error}"), False
    return _cut(_text(getattr(said, "content", said))), True


def _text(said: Any) -> str:
    if isinstance(said, str):
        return said
    try:
        return json.dumps(said, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return str(said)


def _cut(text: str) -> str:
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}\n[... {len(text) - _LONGEST} characters left out]"
