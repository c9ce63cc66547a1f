"""What must hold of every reward, as functions that raise ContractViolation; each comes with what to do about it.

They cover the contract of `protocols`, and that the simplest ways of gaming a reward do not pay. Whether its numbers
are right is for the author's own tests; time limits are the executors' business.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import pickle
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from unittest import SkipTest  # pytest takes it for a skip, and this module works without pytest

from rewardkit.errors import ConfigError, MissingExtraError, PluginError, RewardError
from rewardkit.executors import open_executor
from rewardkit.registry import option_parameters
from rewardkit.serialize import result_from_json, result_to_json
from rewardkit.signature import Signature
from rewardkit.testing.samples import odd
from rewardkit.testing.subject import Subject
from rewardkit.types import Outcome, RewardResult, Score, Trajectory

_WORKER_SECONDS = 60.0


class ContractViolation(AssertionError):  # noqa: N818  it is a test that fails
    """The reward breaks the contract."""


class NotApplicable(SkipTest):
    """The check says nothing about this reward."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold; `cure` says what to do when it does not."""

    name: str
    run: Callable[[Subject], None]
    cure: str

    def against(self, subject: Subject) -> None:
        """Return if it holds, else raise ContractViolation or NotApplicable.

        Whatever the reward raises is a violation; a reward that cannot be built raises as `RewardSpec.build` does.
        """
        try:
            self.run(subject)
        except (NotApplicable, ConfigError, MissingExtraError, PluginError):
            raise
        except ContractViolation as violation:
            raise ContractViolation(f"{violation}. {self.cure}") from violation.__cause__
        except Exception as error:
            raise ContractViolation(f"it raised {type(error).__name__}: {error}. {self.cure}") from error


def lists_its_options(subject: Subject) -> None:
    """Require named options with defaults that are JSON."""
    for option in option_parameters(subject.spec.load()):
        if option.kind in (option.POSITIONAL_ONLY, option.VAR_POSITIONAL, option.VAR_KEYWORD):
            raise ContractViolation(f"the factory takes '{option}', which nobody can list or set by name")
        if option.default is not inspect.Parameter.empty:
            _require_json(option.default, f"the default of the option {option.name!r}")


def has_one_signature(subject: Subject) -> None:
    """Require the same signature of two instances, before and after setup, that parses back."""
    first = subject.build()  # kept alive, so that the second one has another address
    text = subject.spec.signature(first, subject.options)
    with subject.running() as reward:
        again = subject.spec.signature(reward, subject.options)
    if text != again:
        raise ContractViolation(f"the signature was {text!r} at first, then {again!r}")
    if str(Signature.parse(text)) != text:
        raise ContractViolation(f"the signature {text!r} does not parse back into itself")


def pickles_before_setup(subject: Subject) -> None:
    """Require that a reward that is not set up goes through pickle and scores as before."""
    with subject.running(pickle.loads(pickle.dumps(subject.build()))) as reward:  # noqa: S301  pickled one line ago
        _require_baseline(subject, subject.score(reward, subject.attempts))


def closes_without_setup(subject: Subject) -> None:
    """Require that close is harmless on a reward that was never set up."""
    subject.build().close()


def sets_up_and_closes_twice(subject: Subject) -> None:
    """Require that a second setup or close changes nothing."""
    with subject.running() as reward:
        reward.setup()
        _require_baseline(subject, subject.score(reward, subject.attempts))
        reward.close()


def gives_one_score_each(subject: Subject) -> None:
    """Require a sequence of Scores, one for each attempt that is not refused, with one step score for each step."""
    with subject.running() as reward:
        for unit in subject.units([one for one in subject.attempts if not _refuses(subject, reward, one)]):
            scores = subject.call(reward, unit)
            if not isinstance(scores, Sequence) or len(scores) != len(unit):
                raise ContractViolation(f"{len(unit)} attempts got {_summary(scores)}")
            for score, attempt in zip(scores, unit, strict=True):
                if not isinstance(score, Score):
                    raise ContractViolation(f"an attempt got {score!r}, which is no Score")
                if score.steps is not None and len(score.steps) != len(attempt.steps):
                    raise ContractViolation(f"{len(attempt.steps)} steps got {len(score.steps)} step scores")


def takes_the_smallest_batch(subject: Subject) -> None:
    """Require no score for an empty batch, and one for a group of one."""
    smallest = subject.good[:1] if subject.compares_groups else []
    with subject.running() as reward:
        scores = subject.call(reward, smallest)
    if not isinstance(scores, Sequence) or len(scores) != len(smallest):
        raise ContractViolation(f"{len(smallest)} attempts got {_summary(scores)}")


def repeats_itself(subject: Subject) -> None:
    """Require the same scores of the same instance the second time."""
    with subject.running() as reward:
        subject.score(reward, subject.attempts)
        _require_baseline(subject, subject.score(reward, subject.attempts))


def scores_alone_as_in_a_batch(subject: Subject) -> None:
    """Require that neither the batch nor its order changes a score."""
    if subject.compares_groups:
        raise NotApplicable("a group reward judges the group as a whole")
    with subject.running() as reward:
        _require_baseline(subject, [o for one in subject.attempts for o in subject.score(reward, [one])])
        _require_baseline(subject, subject.score(reward, subject.attempts[::-1])[::-1])


def scores_in_a_thread(subject: Subject) -> None:
    """Require the same scores in a thread that is not the main one."""
    _require_baseline(subject, _in_thread(lambda: _score_fresh(subject)))


def scores_in_an_event_loop(subject: Subject) -> None:
    """Require the same scores when the caller is a coroutine."""

    async def score() -> list[Outcome]:
        return _score_fresh(subject)

    # A thread of its own, because the caller may be in a loop already.
    _require_baseline(subject, _in_thread(lambda: asyncio.run(score())))


def scores_in_a_worker_process(subject: Subject) -> None:
    """Require the same scores in a worker that was sent the address and the options."""
    executor = open_executor("process", workers=1)
    try:
        calls = [
            executor.submit(subject.spec, subject.options, unit, timeout=_WORKER_SECONDS)
            for unit in subject.units(subject.attempts)
        ]
        _require_baseline(subject, [outcome for call in calls for outcome in call.result()])
    finally:
        executor.close()


def survives_json(subject: Subject) -> None:
    """Require that a score read back from its JSON is the same."""
    for outcome in subject.baseline:
        if isinstance(outcome, Score):
            _require_json(outcome.metadata, "Score.metadata")
            scored = RewardResult(total=outcome.value, scores={subject.spec.name: outcome})
            if result_from_json(json.loads(json.dumps(result_to_json("", "", scored)))) != scored:
                raise ContractViolation(f"{outcome!r} is another score after a round trip through JSON")


def judges_the_samples(subject: Subject) -> None:
    """Require a value for at least one of the good attempts: otherwise the other checks have shown nothing."""
    outcomes = [outcome for outcome, kind in zip(subject.baseline, subject.kinds, strict=True) if kind == "good"]
    if any(isinstance(one, Score) and (one.value is not None or one.steps) for one in outcomes):
        return
    failures = [one.message for one in outcomes if not isinstance(one, Score)]
    what = f"it fails with {failures[0]!r}" if failures else "it abstains"
    raise ContractViolation(f"{what} on each of the {len(outcomes)} samples, so that nothing was tried out")


def abstains_without_references(subject: Subject) -> None:
    """Require no value where the references that the reward needs are missing."""
    if "references" not in subject.spec.needs:
        raise NotApplicable("it does not need references")
    bare = [replace(one, task=replace(one.task, references=())) for one in subject.good]
    with subject.running() as reward:
        for outcome in subject.score(reward, bare):
            if isinstance(outcome, Score) and outcome.value is not None:
                raise ContractViolation(f"a task without references got {outcome.value:g}")


def is_not_beaten(subject: Subject, *, kind: str) -> None:
    """Require that a spoiled attempt gets no more than the good attempt that it was made from."""
    good, compared = 0.0, False
    for outcome, name in zip(subject.baseline, subject.kinds, strict=True):
        value = outcome.value if isinstance(outcome, Score) else None
        if name == "good":
            good, compared = (0.0, False) if value is None else (value, True)
        elif name == kind and compared and value is not None and value > good + subject.tolerance:
            raise ContractViolation(f"{kind} gets {value:g} where the good answer gets {good:g}")


def takes_odd_input(subject: Subject) -> None:
    """Require an answer, or a RewardError, for input that is legal but unlikely."""
    with subject.running() as reward:
        for what, attempt in odd(subject.good[0]):
            try:
                scores = subject.call(reward, [attempt])
            except RewardError:
                continue
            except Exception as error:
                raise ContractViolation(f"{what} raised {type(error).__name__}: {error}") from error
            if len(scores) != 1:
                raise ContractViolation(f"{what} got {_summary(scores)}")


CHECKS: tuple[Check, ...] = (
    Check("it lists its options", lists_its_options, "Take keyword parameters with JSON values as defaults"),
    Check("it has one signature", has_one_signature, "Let it depend on the options only, and hold no object's address"),
    Check("it pickles before setup", pickles_before_setup, "Open models, files and locks in setup, not in __init__"),
    Check("it closes without setup", closes_without_setup, "Let close free what is there and no more"),
    Check("it sets up and closes twice", sets_up_and_closes_twice, "Let a second setup or close do nothing"),
    Check("it gives one score each", gives_one_score_each, "Return [Score(value=...) for each attempt], in order"),
    Check("it takes the smallest batch", takes_the_smallest_batch, "Return [] for [], and one Score for one attempt"),
    Check("it repeats itself", repeats_itself, "Keep no state between calls, and seed what is random"),
    Check("it scores alone as in a batch", scores_alone_as_in_a_batch, "Judge each attempt by itself, in order"),
    Check("it scores in a thread", scores_in_a_thread, "Use no signals: executors enforce time limits"),
    Check("it scores in an event loop", scores_in_an_event_loop, "Do not call asyncio.run in the thread that scores"),
    Check("it scores in a worker process", scores_in_a_worker_process, "Rely on nothing but the options and setup"),
    Check("its scores survive JSON", survives_json, "Put JSON values only into metadata: lists, text keys"),
    Check("it judges the samples", judges_the_samples, "Give the contract samples that this reward can judge"),
    Check("it abstains without references", abstains_without_references, "Return Score(value=None) there"),
    *(
        Check(
            f"{kind} does not beat a good answer",
            partial(is_not_beaten, kind=kind),
            f"Give {kind} the lowest value, or the contract samples that deserve more",
        )
        for kind in ("silence", "echo", "garbage")
    ),
    Check("it takes odd input", takes_odd_input, "Handle it, abstain, or raise RewardError"),
)


def _refuses(subject: Subject, reward: Any, attempt: Trajectory) -> bool:
    """Return whether a reward of single attempts raises RewardError for this one, as it may: it cannot be judged."""
    if subject.compares_groups:
        return False
    try:
        subject.call(reward, [attempt])
    except RewardError:
        return True
    return False


def _score_fresh(subject: Subject) -> list[Outcome]:
    with subject.running() as reward:
        return subject.score(reward, subject.attempts)


def _in_thread(score: Callable[[], list[Outcome]]) -> list[Outcome]:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(score).result()


def _require_baseline(subject: Subject, outcomes: Sequence[Outcome]) -> None:
    if difference := subject.difference(outcomes, subject.baseline):
        raise ContractViolation(difference)


def _require_json(value: Any, what: str) -> None:
    try:
        same = json.loads(json.dumps(value)) == value
    except (TypeError, ValueError):
        same = False
    if not same:
        raise ContractViolation(f"{what} is {value!r}, which JSON does not keep")


def _summary(scores: Any) -> str:
    return f"{len(scores)} scores" if isinstance(scores, Sequence) else repr(scores)
