"""Every exception that rewardkit raises on purpose; failures of a reward are values (`types.Failure`), not these.

    RewardkitError
    ├── InvalidScoreError        (ValueError)    a score that is not finite, or has the wrong shape
    ├── InvalidTrajectoryError   (ValueError)    input that is not a trajectory
    ├── ConfigError              (ValueError)    a reward spec, an option or rewards.toml that cannot be right
    ├── UnknownNameError         (KeyError)      no plugin registers that name
    ├── DuplicateNameError       (ValueError)    two plugins register one name
    ├── MissingExtraError        (ImportError)   a reward needs an extra that is not installed
    ├── PluginError              (RuntimeError)  a plugin cannot be loaded or breaks its contract
    ├── RewardError              (RuntimeError)  a reward could not judge: it becomes a Failure, never a number
    │   ├── UnparsableError                      a judge's verdict could not be read
    │   └── SandboxError                         the sandbox failed (a program that fails is a result, not this)
    │       └── SandboxUnavailableError          no program can be run here, and what to do about it
    └── WorkerError              (RuntimeError)  workers cannot do their work

All of them pickle: every argument is positional and kept in `args`.
"""

from __future__ import annotations


class RewardkitError(Exception):
    """Base of all errors of this project."""


class InvalidScoreError(RewardkitError, ValueError):
    """A score is not finite or has the wrong shape."""


class InvalidTrajectoryError(RewardkitError, ValueError):
    """Input cannot be read as a trajectory."""


class ConfigError(RewardkitError, ValueError):
    """A reward spec, an option or a configuration file cannot be right."""


class UnknownNameError(RewardkitError, KeyError):
    """No plugin registers that name."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would print the repr


class DuplicateNameError(RewardkitError, ValueError):
    """Two plugins register the same name."""


class MissingExtraError(RewardkitError, ImportError):
    """A reward needs packages that are not installed."""


class PluginError(RewardkitError, RuntimeError):
    """A plugin cannot be loaded or does not keep its contract."""


class RewardError(RewardkitError, RuntimeError):
    """A reward could not judge a trajectory; raise it in `score_batch` to get a Failure."""


class UnparsableError(RewardError):
    """A judge answered, but no verdict could be read from its answer."""


class SandboxError(RewardError):
    """The sandbox itself failed."""


class SandboxUnavailableError(SandboxError):
    """No program can be run in this sandbox on this machine; the message says what to do."""


class WorkerError(RewardkitError, RuntimeError):
    """Workers cannot do their work: the executor is closed, or none of them starts."""
