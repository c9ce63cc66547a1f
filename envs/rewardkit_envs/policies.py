"""What acts in an environment of text: a policy is any object with `act`; here are those that need no model.

Not covered: policies that ask a language model (`model_policies`), and playing (`rollouts`).
"""

from __future__ import annotations

import importlib
from inspect import signature
from typing import Any, Protocol, runtime_checkable

import numpy as np

from rewardkit.errors import ConfigError, RewardkitError
from rewardkit.registry import check_options, did_you_mean
from rewardkit_envs.spaces import random_text


class PolicyError(RewardkitError, RuntimeError):
    """A policy has no action: its server gave no answer, or none that could be read."""


@runtime_checkable
class Policy(Protocol):
    """Chooses actions. Safe to use from several threads."""

    def act(self, env: Any, random: np.random.Generator, /) -> str:
        """Return the next action in `env`, a TextEnv or one in `wrappers.Transcript`; chance comes from `random`."""
        ...


class GoldPolicy:
    """Takes the actions that the environment knows to be right."""

    def act(self, env: Any, random: np.random.Generator, /) -> str:  # noqa: ARG002
        """Return `env.gold()`; raises ConfigError where there is none."""
        try:
            gold = env.get_wrapper_attr("gold")
        except AttributeError:
            raise ConfigError(f"{type(env.unwrapped).__name__} knows no gold policy: choose another") from None
        return str(gold())


class NoisyPolicy:
    """Takes the right action, but with probability `rate` the first half of it, or noise: as likely as each other.

    An environment with a method `slip(random)` says itself what a careless agent would do instead.
    """

    def __init__(self, rate: float = 0.3) -> None:
        if isinstance(rate, bool) or not 0 <= rate <= 1:
            raise ConfigError(f"noisy:{rate!r}: the probability must be from 0 to 1")
        self._rate = rate
        self._gold = GoldPolicy()

    def act(self, env: Any, random: np.random.Generator, /) -> str:
        """Return an action that may be spoiled."""
        gold = self._gold.act(env, random)
        if random.random() >= self._rate:
            return gold
        if callable(slip := getattr(env.unwrapped, "slip", None)):
            return str(slip(random))
        return gold[: len(gold) // 2] if random.random() < 0.5 else random_text(random)


class RandomPolicy:
    """Says what means nothing."""

    def act(self, env: Any, random: np.random.Generator, /) -> str:  # noqa: ARG002
        """Return up to 32 random characters."""
        return random_text(random)


def open_policy(policy: Any, **options: Any) -> Policy:
    """Return the policy that `policy` stands for.

    "gold", "noisy" or "noisy:P", "random", "openai:URL", "hf:PATH", a LangChain chat model, or a policy. `options` go
    to the class of the policy. Raises ConfigError, or UnknownNameError's sentence for a name that is none.
    """
    if not isinstance(policy, str):
        return _of_object(policy)
    name, colon, rest = policy.partition(":")
    if name not in _POLICIES:
        raise ConfigError(f"no policy is called {name!r}{did_you_mean(name, [*_POLICIES])} ({', '.join(_POLICIES)})")
    module, attribute, takes = _POLICIES[name]
    if bool(colon and rest) < (takes in ("URL", "PATH")) or (colon and not takes):
        raise ConfigError(f"policy {policy!r}: write {name}{':' + takes if takes else ''}")
    make = getattr(importlib.import_module(module), attribute)
    check_options(f"policy {policy!r}", make, options)
    arguments = [_number(rest, policy) if takes == "P" else rest] if rest else []
    try:
        signature(make).bind(*arguments, **options)
    except TypeError as error:
        raise ConfigError(f"policy {policy!r} cannot be made with {options!r}: {error}") from error
    made: Policy = make(*arguments, **options)
    return made


_HERE, _MODELS = __name__, "rewardkit_envs.model_policies"
_POLICIES = {
    "gold": (_HERE, "GoldPolicy", ""),
    "noisy": (_HERE, "NoisyPolicy", "P"),
    "random": (_HERE, "RandomPolicy", ""),
    "openai": (_MODELS, "OpenAIPolicy", "URL"),
    "hf": (_MODELS, "TransformersPolicy", "PATH"),
}


def _of_object(policy: Any) -> Policy:
    if isinstance(policy, Policy):
        return policy
    if not callable(getattr(policy, "invoke", None)):
        raise ConfigError(f"policy={policy!r} has neither act nor invoke")
    from rewardkit_envs.model_policies import ChatModelPolicy

    return ChatModelPolicy(policy)


def _number(text: str, policy: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"policy {policy!r}: {text!r} is no probability") from None
