"""Names to specs, and specs to objects. Specs are data; nothing heavy is imported until `RewardSpec.build`.

Who fills the registry is `plugins`; which hooks exist is `hookspecs`.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import inspect
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, Literal, Protocol, TypeVar, get_args, get_origin, get_type_hints

from rewardkit.errors import (
    ConfigError,
    DuplicateNameError,
    MissingExtraError,
    PluginError,
    RewardkitError,
    UnknownNameError,
)
from rewardkit.signature import Signature, option_text

Need = Literal["gpu", "network", "sandbox", "references", "steps", "group"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardSpec:
    """A reward as data: enough to list it, to place it and to build it in any process.

    `factory` is `"package.module:attribute"` (or `"path/to/file.py:attribute"`): a class, a function that returns a
    reward, or a function lifted by `@reward`. `needs` says what the reward cannot do without; `"group"` marks a
    GroupReward, `"gpu"` a model, of which an executor loads one copy (it runs on a CPU, too, only slower). `batch_size`
    is how many trajectories a worker hands to one `score_batch` call (1 for a rule; a model wants many); a time limit
    then holds for that call. `requires` names the modules that `extra` brings, so that it is missed before anything is
    scored. `version` and `owner` are filled in by the plugin loader.
    """

    name: str
    factory: str
    extra: str | None = None
    summary: str = ""
    needs: frozenset[Need] = frozenset()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int = 1
    requires: tuple[str, ...] = ()
    version: str = ""
    owner: str = ""

    def build(self, **options: Any) -> Any:
        """Return the reward, not yet set up; raises MissingExtraError, ConfigError or PluginError."""
        if missing := [name for name in self.requires if importlib.util.find_spec(name) is None]:
            raise self._missing_error(missing[0])
        target = self.load()
        if not callable(target):
            raise PluginError(f"reward {self.name!r}: {self.factory} is not callable, but {type(target).__name__}")
        merged = {**self.defaults, **options}
        self._check_options(target, merged)
        make: Callable[..., Any] = getattr(target, "with_options", target)
        try:
            reward = make(**merged)
        except ModuleNotFoundError as error:
            raise self._import_error(error, self.factory.rpartition(":")[0]) from error
        except RewardkitError:
            raise
        except (TypeError, ValueError) as error:
            raise ConfigError(f"reward {self.name!r} cannot be built with {merged!r}: {error}") from error
        except (Exception, SystemExit) as error:
            problem = f"{type(error).__name__}: {error}"
            raise PluginError(f"reward {self.name!r} cannot be built with {merged!r}: {problem}") from error
        self._check_methods(reward)
        return reward

    def load(self) -> Any:
        """Return what `factory` names."""
        module_name, _, attribute = self.factory.rpartition(":")
        try:
            module = _load_file(module_name) if module_name.endswith(".py") else importlib.import_module(module_name)
        except RewardkitError:
            raise
        except ModuleNotFoundError as error:
            raise self._import_error(error, module_name) from error
        except (Exception, SystemExit) as error:  # a script without a main guard may end here
            problem = f"{type(error).__name__}: {error}"
            raise PluginError(f"reward {self.name!r}: importing {module_name!r} failed: {problem}") from error
        try:
            return getattr(module, attribute)
        except AttributeError:
            hint = did_you_mean(attribute, [n for n in vars(module) if not n.startswith("_")])
            raise PluginError(f"reward {self.name!r}: {module_name!r} has no {attribute!r}{hint}") from None

    def signature(self, reward: Any, options: Mapping[str, Any]) -> str:
        """Return the signature of `reward`, built from this spec with `options`."""
        fields_of = getattr(reward, "signature_fields", None)
        if fields_of is not None:
            fields = {str(k): option_text(v) for k, v in fields_of().items()}
        else:
            fields = {k: option_text(v) for k, v in self.effective_options(options).items()}
        return str(Signature(self.name, {**fields, "v": self.version or "0"}))

    def effective_options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return every option of the factory with the value it takes: the factory's default, the spec's, the given."""
        parameters = option_parameters(self.load()) if self.factory else []
        declared = {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}
        return dict(sorted({**declared, **self.defaults, **options}.items()))

    def to_json(self) -> dict[str, Any]:
        """Return the spec as JSON values."""
        return {
            **asdict(self),
            "needs": sorted(self.needs),
            "defaults": dict(self.defaults),
            "requires": list(self.requires),
        }

    def _check_options(self, target: Any, options: Mapping[str, Any]) -> None:
        check_options(f"reward {self.name!r}", target, options)
        parameters = [p for p in option_parameters(target) if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        missing = [p.name for p in parameters if p.default is p.empty and p.name not in options]
        if missing:
            hint = "; if this function is the reward itself, put @reward above it" if inspect.isfunction(target) else ""
            raise ConfigError(
                f"reward {self.name!r} needs the option {missing[0]!r}: {self.name}:{missing[0]}=...{hint}"
            )

    def _check_methods(self, reward: Any) -> None:
        scores = "score_group" if hasattr(reward, "score_group") else "score_batch"
        for name in ("setup", scores, "close"):
            if not callable(getattr(reward, name, None)):
                kind = type(reward).__name__
                raise PluginError(f"reward {self.name!r}: {kind} has no method {name!r}, which every reward must have")

    def _import_error(self, error: ModuleNotFoundError, module_name: str) -> Exception:
        missing = error.name or module_name
        if self.extra and not f"{module_name}.".startswith(f"{missing}."):
            return self._missing_error(missing)
        return PluginError(f"reward {self.name!r}: cannot import {module_name!r}: no module named {missing!r}")

    def _missing_error(self, module: str) -> MissingExtraError:
        cure = f"'{self.owner or 'agentic-rewardkit'}[{self.extra}]'" if self.extra else module
        return MissingExtraError(f"reward {self.name!r} needs {module!r}: pip install {cure}")


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvSpec:
    """A Gymnasium environment as data: `id` as `namespace/Name-v0`, `entry_point` as `"package.module:Class"`."""

    name: str
    entry_point: str
    extra: str | None = None
    summary: str = ""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    version: str = ""
    owner: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSpec:
    """A sandbox as data; the factory, `"package.module:Class"`, takes options and returns a `protocols.Sandbox`."""

    name: str
    factory: str
    extra: str | None = None
    summary: str = ""
    version: str = ""
    owner: str = ""

    def build(self, **options: Any) -> Any:
        """Return the sandbox, not yet started; raises MissingExtraError, ConfigError or PluginError."""
        make = self.load()
        check_options(f"sandbox {self.name!r}", make, options)
        try:
            return make(**options)
        except ModuleNotFoundError as error:
            raise _missing_extra(f"sandbox {self.name!r}", self, error) from error
        except RewardkitError:
            raise
        except (TypeError, ValueError) as error:
            raise ConfigError(f"sandbox {self.name!r} cannot be built with {options!r}: {error}") from error
        except (Exception, SystemExit) as error:
            problem = f"{type(error).__name__}: {error}"
            raise PluginError(f"sandbox {self.name!r} cannot be built: {problem}") from error

    def load(self) -> Any:
        """Return what `factory` names; raises MissingExtraError or PluginError."""
        return _load_named(f"sandbox {self.name!r}", self)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandSpec:
    """A subcommand of `rewardkit` as data: the factory, `"package.module:attribute"`, is a click command."""

    name: str
    factory: str
    extra: str | None = None
    summary: str = ""
    version: str = ""
    owner: str = ""

    def load(self) -> Any:
        """Return the click command; raises MissingExtraError or PluginError."""
        return _load_named(f"the command {self.name!r}", self)


def _load_named(what: str, spec: SandboxSpec | CommandSpec) -> Any:
    """Return what a spec's factory names, or say of `what` why it cannot be had."""
    module, _, attribute = spec.factory.rpartition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise _missing_extra(what, spec, error) from error
    except (Exception, SystemExit) as error:
        problem = f"{type(error).__name__}: {error}"
        raise PluginError(f"{what} of {spec.owner!r} does not load: {problem}") from error


def _missing_extra(what: str, spec: SandboxSpec | CommandSpec, error: ModuleNotFoundError) -> MissingExtraError:
    cure = f": pip install '{spec.owner}[{spec.extra}]'" if spec.extra else ""
    return MissingExtraError(f"{what} needs {error.name!r}{cure}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSpec:
    """A tool as data; the factory returns a LangChain BaseTool."""

    name: str
    factory: str
    extra: str | None = None
    summary: str = ""
    version: str = ""
    owner: str = ""


class Named(Protocol):
    """Anything that a registry can hold."""

    @property
    def name(self) -> str:
        """The name it is found by."""
        ...

    @property
    def owner(self) -> str:
        """The distribution or plugin that provides it."""
        ...


S = TypeVar("S", bound=Named)


class Registry(Generic[S]):
    """A mapping from names to specs of one kind that refuses duplicates and answers typos."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._specs: dict[str, S] = {}

    def add(self, spec: S) -> None:
        """Register `spec`; a name that is taken raises DuplicateNameError and names both owners."""
        if (taken := self._specs.get(spec.name)) is not None:
            raise DuplicateNameError(
                f"{self.kind} {spec.name!r} is registered by both {taken.owner!r} and {spec.owner!r}: "
                "uninstall one of them, or disable it with REWARDKIT_DISABLE_PLUGINS"
            )
        self._specs[spec.name] = spec

    def get(self, name: str) -> S:
        """Return the spec called `name`, or raise UnknownNameError with the nearest names."""
        try:
            return self._specs[name]
        except KeyError:
            hint = did_you_mean(name, list(self._specs))
            listed = "" if hint else f" (there are: {', '.join(sorted(self._specs)) or 'none'})"
            raise UnknownNameError(f"no {self.kind} is called {name!r}{hint}{listed}") from None

    def __iter__(self) -> Iterator[S]:
        return iter(sorted(self._specs.values(), key=lambda spec: spec.name))

    def __len__(self) -> int:
        return len(self._specs)

    def __contains__(self, name: object) -> bool:
        return name in self._specs


def did_you_mean(word: str, known: list[str]) -> str:
    """Return `"; did you mean 'x'?"` for the nearest known word, or ""."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def option_parameters(target: Any) -> list[inspect.Parameter]:
    """Return the parameters of a factory that are options; of a function under `@reward`, the keyword-only ones."""
    options_of = getattr(target, "option_parameters", None)
    if options_of is not None:
        return list(options_of())
    return list(inspect.signature(target).parameters.values())


def check_options(what: str, target: Any, options: Mapping[str, Any]) -> None:
    """Raise ConfigError, which calls the target `what`, for options that it does not have or values of a wrong type."""
    parameters = option_parameters(target)
    known = [p.name for p in parameters if p.kind is not p.VAR_KEYWORD]
    for name in options if len(known) == len(parameters) else ():
        if name not in known:
            listed = ", ".join(known) or "none"
            raise ConfigError(f"{what} has no option {name!r}{did_you_mean(name, known)} (its options: {listed})")
    for name, value in options.items():
        if problem := _type_problem(target, name, value):
            raise ConfigError(f"{what}: the option {name}={value!r} cannot be right: {problem}")


def _type_problem(target: Any, name: str, value: Any) -> str:
    """Return why `value` does not fit the annotation of the option `name`; "" also where that cannot be checked."""
    import msgspec

    if isinstance(value, float) and not math.isfinite(value):
        return "it must be finite"
    function = vars(target).get("__init__") if isinstance(target, type) else getattr(target, "__wrapped__", target)
    hint: Any = Any
    try:
        hint = get_type_hints(function)[name]
        msgspec.convert(value, hint)
    except msgspec.ValidationError as error:
        return f"choose {' or '.join(map(repr, get_args(hint)))}" if get_origin(hint) is Literal else str(error)
    except (TypeError, NameError, AttributeError, KeyError):
        return ""
    return ""


def _load_file(path: str) -> ModuleType:
    """Import a Python file under a name made from its absolute path, once per process."""
    file = Path(path).resolve()
    name = f"rewardkit_file_{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None or not file.is_file():
        raise ConfigError(f"there is no file {path!r} to load a reward from")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
