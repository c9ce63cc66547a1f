"""What a scorer is made of: rewards with a name, options, a weight and a gate; read from text, tables or objects.

The text form is `[WEIGHT*]NAME[:option=value,...]`, where NAME is a registered reward, `package.module:attribute`, or
`path/to/file.py:attribute`. Values are JSON, or plain text where they are no JSON: `regex:pattern="a,b"`.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rewardkit.errors import ConfigError
from rewardkit.function import FunctionReward
from rewardkit.registry import Need, Registry, RewardSpec, did_you_mean
from rewardkit.signature import Signature

_WEIGHT = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*\*\s*")
_TABLE_KEYS = ("reward", "weight", "gate", "required", "options")


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One reward of a scorer.

    Its value counts `weight` times in the total. With a `gate`, the other rewards count only where this one's value is
    above that number. Where a `required` reward fails, the total is None. `instance` is the reward itself when it was
    given as an object, which only the serial executor can run.
    """

    name: str
    spec: RewardSpec
    options: Mapping[str, Any] = field(default_factory=dict)
    weight: float = 1.0
    gate: float | None = None
    required: bool = True
    instance: Any = None

    def __post_init__(self) -> None:
        for key, number in (("weight", self.weight), ("gate", self.gate)):
            if number is not None and not _is_finite(number):
                raise ConfigError(f"reward {self.name!r}: {key} must be a finite number, not {number!r}")

    def build(self) -> Any:
        """Return the reward, not yet set up."""
        return self.spec.build(**self.options) if self.instance is None else self.instance

    @property
    def signed(self) -> bool:
        """Whether the signature tells the options: not for an object that says nothing of them."""
        return bool(self.spec.factory) or hasattr(self.instance, "signature_fields")

    def signature(self) -> Signature:
        """Return the signature of the reward alone: what decides its scores."""
        return Signature.parse(self.spec.signature(self.build(), self.options))

    def signature_in_total(self) -> Signature:
        """Return the signature with what decides the reward's part in the total."""
        alone = self.signature()
        extra = {
            "as": self.name if self.name != self.spec.name else None,
            "weight": _exactly(self.weight) if self.weight != 1 else None,
            "gate": _exactly(self.gate) if self.gate is not None else None,
            "required": None if self.required else "no",
        }
        return Signature(alone.name, {**alone.fields, **{k: v for k, v in extra.items() if v is not None}})


def name_in_total(signature: str) -> str:
    """Return the name of the reward that has this signature in a scorer's; see `Term.signature_in_total`."""
    parsed = Signature.parse(signature)
    return parsed.fields.get("as", parsed.name)


def read_config(path: Path) -> dict[str, Any]:
    """Return the `[rewards]` table of a rewards.toml; raises ConfigError when there is none."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {str(path)!r}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{str(path)!r} is not valid TOML: {error}") from error
    rewards = tables.pop("rewards", None)
    if tables:
        raise ConfigError(
            f"{str(path)!r} has the unknown table {next(iter(tables))!r}; it may hold only [rewards.NAME]"
        )
    if not isinstance(rewards, dict) or not rewards:
        raise ConfigError(f"{str(path)!r} names no reward: add a table such as [rewards.bleu]")
    return rewards


def read_terms(rewards: Mapping[str, Any] | Sequence[Any], registry: Registry[RewardSpec]) -> list[Term]:
    """Return the terms that `rewards` describes, in order; see `scorer.Scorer` for the forms it may take."""
    if isinstance(rewards, str) or not isinstance(rewards, (Mapping, Sequence)):
        raise ConfigError(f"rewards must be a list of specs or a mapping from names to specs, not {rewards!r}")
    pairs = rewards.items() if isinstance(rewards, Mapping) else ((None, value) for value in rewards)
    terms = [_read_term(name, value, registry) for name, value in pairs]
    if not terms:
        raise ConfigError("a scorer needs at least one reward")
    for index, term in enumerate(terms):
        if term.name == "total":
            raise ConfigError("no reward may be called 'total', which is the name of their sum: choose another")
        if any(term.name == other.name for other in terms[:index]):
            raise ConfigError(f"two rewards are called {term.name!r}: give them names in rewards.toml")
    return terms


def parse_term(text: str, registry: Registry[RewardSpec]) -> Term:
    """Read one term from its text form; raises ConfigError or UnknownNameError."""
    weight, rest = 1.0, text
    if match := _WEIGHT.match(text):
        weight, rest = float(match[1]), text[match.end() :]
    address, _, tail = rest.strip().partition(":")
    if address.endswith(".py") or "." in address:
        attribute, _, tail = tail.partition(":")
        if not attribute.isidentifier():
            raise ConfigError(f"reward {text!r} names no attribute of {address!r}: write {address}:NAME")
        spec = _spec_of_address(attribute, f"{address}:{attribute}")
    else:
        spec = registry.get(address)
    return Term(name=spec.name, spec=spec, options=dict(_read_options(tail, text)), weight=weight)


def _is_finite(number: Any) -> bool:
    try:
        return isinstance(number, (int, float)) and not isinstance(number, bool) and math.isfinite(number)
    except OverflowError:  # an integer that no float can hold
        return False


def _exactly(number: float) -> str:
    return repr(float(number)).removesuffix(".0")


def _read_term(name: str | None, value: Any, registry: Registry[RewardSpec]) -> Term:
    """Read one term from a SPEC, a weight, a table or a reward object."""
    if isinstance(value, Term):
        return value if name is None else replace(value, name=name)
    if isinstance(value, str):
        term = parse_term(value, registry)
        return replace(term, name=name) if name else term
    if isinstance(value, (int, float)) and not isinstance(value, bool) and name:
        return replace(parse_term(name, registry), weight=float(value))
    if isinstance(value, Mapping):
        return _read_table(name or str(value.get("reward", "")), value, registry)
    if isinstance(value, type):
        raise ConfigError(
            f"reward {(name or value.__name__)!r} is a class: give an instance of it, {value.__name__}(...)"
        )
    if hasattr(value, "score_batch") or hasattr(value, "score_group"):
        return _term_of_object(name, value)
    raise ConfigError(f"reward {name or value!r} must be a spec, a weight, a table or a reward, not {value!r}")


def _read_table(name: str, table: Mapping[str, Any], registry: Registry[RewardSpec]) -> Term:
    for key in table:
        if key not in _TABLE_KEYS:
            hint = did_you_mean(key, list(_TABLE_KEYS)) or f" (there are: {', '.join(_TABLE_KEYS)})"
            raise ConfigError(f"reward {name!r} has the unknown key {key!r}{hint}; options go under 'options'")
    options, required = table.get("options", {}), table.get("required", True)
    if not isinstance(options, Mapping) or not isinstance(required, bool):
        raise ConfigError(f"reward {name!r}: 'options' must be a table and 'required' true or false")
    reward = table.get("reward", name)
    if isinstance(reward, (bool, int, float, Mapping)):
        raise ConfigError(f"reward {name!r}: 'reward' must be a spec such as \"bleu:max_order=2\", not {reward!r}")
    term = _read_term(name, reward, registry)
    return replace(
        term,
        options={**term.options, **options},
        weight=table.get("weight", term.weight),
        gate=table.get("gate"),
        required=required,
    )


def _spec_of_address(name: str, factory: str) -> RewardSpec:
    """Return a spec for a reward that no plugin registers; its methods say whether it judges groups.

    The version of a file is a hash of it: scores that were made before it was edited must not be taken for new ones.
    """
    address, _, attribute = factory.rpartition(":")
    version, file = "", Path(address)
    if file.suffix == ".py" and file.is_file():
        version = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
        factory = f"{file.resolve()}:{attribute}"  # workers and rewards may be in another folder
    spec = RewardSpec(name=name, factory=factory, version=version)
    return replace(spec, needs=frozenset({"group"})) if hasattr(spec.load(), "score_group") else spec


def _term_of_object(name: str | None, value: Any) -> Term:
    """Return a term around a live reward; a function under `@reward` can be found again by its address."""
    module, qualname = getattr(value, "__module__", ""), getattr(value, "__qualname__", "")
    addressable = bool(qualname) and "<locals>" not in qualname and module != "__main__"
    called = name or getattr(value, "__name__", None) or type(value).__name__
    needs: frozenset[Need] = frozenset({"group"}) if hasattr(value, "score_group") else frozenset()
    spec = RewardSpec(name=called, factory=f"{module}:{qualname}" if addressable else "", needs=needs)
    options = value.options if isinstance(value, FunctionReward) else {}
    return Term(name=called, spec=spec, options=options, instance=value)


def _read_options(text: str, whole: str) -> Iterator[tuple[str, Any]]:
    """Yield the options of `a=1,b="x,y",c=[1,2]`."""
    seen: set[str] = set()
    rest = text.strip()
    while rest:
        key, equals, rest = rest.partition("=")
        if not equals or not key.strip().isidentifier():
            raise ConfigError(f"cannot read the option {key!r} of {whole!r}: write NAME:option=value,option=value")
        if (key := key.strip()) in seen:
            raise ConfigError(f"the option {key!r} is there twice in {whole!r}: leave one out")
        seen.add(key)
        value, rest = _read_value(rest.lstrip())
        yield key, value
        rest = rest.lstrip()
        if rest and not rest.startswith(","):
            raise ConfigError(f"cannot read {rest!r} in {whole!r}: options are separated by commas")
        rest = rest[1:]


def _read_value(text: str) -> tuple[Any, str]:
    """Return the value that `text` starts with, and what follows it: JSON, or plain text up to the next comma."""
    try:
        value, end = json.JSONDecoder().raw_decode(text)
    except (json.JSONDecodeError, RecursionError):
        end = -1
    else:
        if isinstance(value, (str, list, dict)) or not text[end:].lstrip() or text[end:].lstrip().startswith(","):
            return value, text[end:]
    plain, comma, rest = text.partition(",")
    return plain.strip(), comma + rest
