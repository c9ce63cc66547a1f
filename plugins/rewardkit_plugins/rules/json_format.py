"""The `json_format` reward: 1.0 if the completion is JSON that fits a schema, else 0.0; never whether it is true.

Schemas are taken as they are: one with a `pattern` that backtracks badly can be made slow by the completion, and only
an executor's time limit ends that. References to other documents are not followed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal, get_args

from rewardkit.errors import ConfigError, MissingExtraError, RewardError
from rewardkit.types import Score, Trajectory
from rewardkit_plugins.rules.rule import Rule, check_choice, quoted

Fence = Literal["forbidden", "allowed", "required"]
_FENCE = re.compile(r"```(?:json|JSON)?[ \t]*\n(.*)\n[ \t]*```", re.DOTALL)


class JsonFormat(Rule):
    """Parses the whole last action as one JSON document and validates it.

    `schema` is a JSON Schema; without it `task.metadata["schema"]` is used, and where that is missing too the reward
    abstains. `fence` says whether the document may or must stand in one Markdown code fence. Text around it, a second
    document, NaN, and an object that has a key twice are faults. `parts` tell `parsed` from `valid`.

    Raises ConfigError for an option that cannot be right, MissingExtraError without the extra `json`; a task whose
    schema is no schema fails with RewardError.
    """

    def __init__(self, *, schema: Mapping[str, Any] | None = None, fence: Fence = "forbidden") -> None:
        check_choice("json_format: fence", fence, get_args(Fence))
        if schema is not None and not isinstance(schema, Mapping):
            raise ConfigError(f"json_format: schema must be a table, not {schema!r}")
        self._schema = schema
        self._fence: Fence = fence

    def setup(self) -> None:
        """Import jsonschema and check the schema given as an option."""
        try:
            _validator(json.dumps(self._schema or {}))
        except ModuleNotFoundError as error:
            cure = "pip install 'agentic-rewardkit[json]'"
            raise MissingExtraError(f"reward 'json_format' needs {error.name!r}: {cure}") from error
        except RewardError as error:
            raise ConfigError(f"json_format: {error}") from error

    def score(self, trajectory: Trajectory, /) -> Score:
        """Return 1.0 or 0.0, or None without a schema."""
        schema = self._schema if self._schema is not None else trajectory.task.metadata.get("schema")
        if schema is None:
            return Score(value=None, explanation="the task has no schema")
        try:
            document = parse(self._unfenced(trajectory.completion))
        except (ValueError, RecursionError) as error:
            parts = {"parsed": 0.0, "valid": 0.0}
            return Score(value=0.0, parts=parts, explanation=f"not JSON: {quoted(str(error), 120)}")
        fault = _first_fault(document, _validator(json.dumps(schema)))
        valid = 0.0 if fault else 1.0
        return Score(value=valid, parts={"parsed": 1.0, "valid": valid}, explanation=fault)

    def _unfenced(self, text: str) -> str:
        match = _FENCE.fullmatch(text.strip()) if self._fence != "forbidden" else None
        if match is None and self._fence == "required":
            raise ValueError("expected one code fence and nothing else")
        return match[1] if match else text


def parse(text: str) -> Any:
    """Return the one JSON document that `text` is; raises ValueError or RecursionError for anything else."""
    return json.loads(text, parse_constant=_refuse, object_pairs_hook=_object)


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON number")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object has a key twice")
    return found


@lru_cache(maxsize=256)
def _validator(schema_text: str) -> Any:
    """Return what validates against a schema; raises RewardError when it is none."""
    import jsonschema
    from jsonschema.validators import validator_for
    from referencing.jsonschema import EMPTY_REGISTRY

    schema = json.loads(schema_text)
    kind = validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise RewardError(f"the schema is no JSON Schema: {_located(error)}") from error
    return kind(schema, registry=EMPTY_REGISTRY)


def _first_fault(document: Any, validator: Any) -> str:
    """Return where and how `document` breaks the schema, or ""; what cannot be validated is a fault of the document."""
    import referencing.exceptions

    try:
        error = next(validator.iter_errors(document), None)
    except referencing.exceptions.Unresolvable as wrong:
        raise RewardError(f"the schema refers to {wrong.ref!r}, which it does not hold") from wrong
    except (RecursionError, OverflowError) as wrong:
        return f"cannot be validated: {wrong}"
    return "" if error is None else _located(error)


def _located(error: Any) -> str:
    return f"{error.json_path}: {quoted(error.message, 160)}"
