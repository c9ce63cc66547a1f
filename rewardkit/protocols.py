"""The contracts that third parties implement. This page is the source of truth for them; nothing is computed here.

A reward is built from its options (cheaply: no model, no file, no network), `setup` runs once in the process that
scores, then `score_batch` or `score_group` any number of times, then `close`. A reward that cannot judge a trajectory
abstains (`Score(value=None)`); one that breaks raises (best: `errors.RewardError`), and the scorer turns that into a
`Failure` of the trajectories concerned. There is no base class: any object with these methods is a reward.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from rewardkit.errors import SandboxError
from rewardkit.programs import Execution, Program
from rewardkit.registry import RewardSpec
from rewardkit.types import Outcome, Score, Trajectory

if TYPE_CHECKING:  # concurrent.futures brings logging with it, and every worker would wait for that
    from concurrent.futures import Future


@runtime_checkable
class Reward(Protocol):
    """Judges trajectories one by one, however they are batched.

    Optional: `signature_fields() -> Mapping[str, str]`, callable before `setup`, replaces the options in the reward's
    signature when what decides the number is more (or less) than its options.
    """

    def setup(self) -> None:
        """Load what is heavy, in the process that scores. Idempotent."""
        ...

    def score_batch(self, batch: Sequence[Trajectory], /) -> Sequence[Score]:
        """Return one Score for each trajectory, in order. An empty batch gives an empty sequence.

        The score of a trajectory must not depend on the others in the batch: the caller cuts batches as it likes.
        """
        ...

    def close(self) -> None:
        """Free everything. Idempotent, also without `setup`."""
        ...


@runtime_checkable
class GroupReward(Protocol):
    """Compares the attempts at one task: pairwise judges, list-wise rankers, rewards relative to a GRPO group."""

    def setup(self) -> None:
        """Load what is heavy, in the process that scores. Idempotent."""
        ...

    def score_group(self, group: Sequence[Trajectory], /) -> Sequence[Score]:
        """Return one Score for each attempt, in order; `group` holds all attempts at one task, at least one."""
        ...

    def close(self) -> None:
        """Free everything. Idempotent, also without `setup`."""
        ...


class Transform(Protocol):
    """Turns scores into scores: clip, delta, min-form, log-sigmoid, running mean.

    Stateful ones add `state_dict() -> dict`, `load_state_dict(dict)` and `merge(other_state_dict)`.
    """

    def __call__(self, scores: Sequence[Score], context: Mapping[str, Any], /) -> Sequence[Score]:
        """Return one Score for each given one, in order; `context` names the reward and the trajectories."""
        ...


@runtime_checkable
class Executor(Protocol):
    """Runs rewards somewhere: in this process, in supervised worker processes, on Ray.

    Every executor gives the same scores. A failure of a reward is an Outcome; only misuse raises.
    """

    def submit(
        self, spec: RewardSpec, options: Mapping[str, Any], batch: Sequence[Trajectory], *, timeout: float | None
    ) -> Future[list[Outcome]]:
        """Score `batch` with the reward that `spec` and `options` address; one outcome each, in order.

        For a group reward (`"group" in spec.needs`) the batch is one whole group. `timeout` is the wall-clock limit in
        seconds of one trajectory (of the whole group for a group reward), None for no limit; time for setup is extra.
        """
        ...

    def close(self) -> None:
        """Stop all workers and wait until they are gone. Idempotent."""
        ...


@runtime_checkable
class Sandbox(Protocol):
    """Runs programs that mean harm. What it promises is what `rewardkit sandbox check` attacks.

    Every program gets a place of its own, from which nothing reaches the host, the network or the next program. Safe to
    use from several threads; a caller waits while all workers are busy. Building one is cheap; the first run starts it.
    Nothing is ever run outside: where the sandbox cannot be had, SandboxUnavailableError says what to do.
    """

    def identity(self) -> str:
        """Return what decides how programs behave here (backend, image digest or interpreter), for signatures.

        Raises SandboxUnavailableError when nothing can be run.
        """
        ...

    def run(self, program: Program, /) -> Execution:
        """Run one program to its end; raises SandboxError when the sandbox fails, ConfigError for what it lacks."""
        ...

    def run_many(self, programs: Sequence[Program], /) -> list[Execution | SandboxError]:
        """Run programs side by side; one Execution each, in order, or the error where the sandbox failed."""
        ...

    async def arun(self, program: Program, /) -> Execution:
        """Run one program without blocking the event loop; cancelling stops waiting, not the program."""
        ...

    def close(self) -> None:
        """Stop everything and leave nothing behind. Idempotent."""
        ...
