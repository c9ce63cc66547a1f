"""The `executes` reward: 1.0 if the program in the answer ends by itself with exit status 0, else 0.0.

That it runs says little about what it does: an empty program runs, too. `unit_tests` asks for more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rewardkit.errors import ConfigError, RewardError
from rewardkit.programs import Execution, Program
from rewardkit.protocols import Sandbox
from rewardkit.types import Score, Trajectory
from rewardkit_plugins.code.compare import same_output
from rewardkit_plugins.code.extract import extract_code, language_of
from rewardkit_plugins.code.sandboxed import Sandboxed, ending, tail


class Executes(Sandboxed):
    """Runs the code of the last action once.

    `language` is that of the program. `stdin` is what it finds on standard input; with `expected_stdout` it must print
    that as well, compared as in `compare.same_output`. `task.metadata` may hold both under the same names, which go
    first. A program that runs into a limit scores 0.0, and so does an answer without code. `parts` tell whether it ran,
    what it used, and whether the output is right; `metadata` holds the exit status, the limit it ran into, and the end
    of what it printed.

    Raises ConfigError for an option that cannot be right; a task whose texts are none fails with RewardError.
    """

    def __init__(
        self,
        *,
        sandbox: str | Sandbox = "auto",
        language: str = "python",
        stdin: str = "",
        expected_stdout: str | None = None,
        wall_s: float = 10.0,
        cpu_s: float = 10.0,
        memory_mb: int = 512,
    ) -> None:
        super().__init__("executes", sandbox=sandbox, wall_s=wall_s, cpu_s=cpu_s, memory_mb=memory_mb)
        if not isinstance(language, str) or not language.strip():
            raise ConfigError(f"executes: language must be a name such as python, not {language!r}")
        self._language = language_of(language) or language
        self._texts = {"stdin": stdin, "expected_stdout": expected_stdout}
        for name, text in self._texts.items():
            if not isinstance(text, str | None):
                raise ConfigError(f"executes: {name} must be text, not {text!r}")

    def signature_fields(self) -> Mapping[str, str]:
        """Return the language, the texts, the sandbox and the limits."""
        texts = {name: text for name, text in self._texts.items() if text}
        return {"language": self._language, **texts, **super().signature_fields()}

    def score_batch(self, batch: Sequence[Trajectory], /) -> list[Score]:
        """Return 1.0 or 0.0 for each trajectory, in order; raises SandboxError when the sandbox fails."""
        codes = [extract_code(trajectory.completion, language=self._language) for trajectory in batch]
        programs = {
            place: self._program(code, trajectory)
            for place, (code, trajectory) in enumerate(zip(codes, batch, strict=True))
            if code is not None
        }
        ended = dict(zip(programs, self.run_all(list(programs.values())), strict=True))
        return [
            self._judge(ended[place], self._text(trajectory, "expected_stdout"))
            if place in ended
            else Score(value=0.0, explanation=f"no {self._language} code found")
            for place, trajectory in enumerate(batch)
        ]

    def _program(self, code: str, trajectory: Trajectory) -> Program:
        stdin = (self._text(trajectory, "stdin") or "").encode("utf-8", "surrogateescape")
        return Program(code=code, language=self._language, stdin=stdin, limits=self.limits)

    def _text(self, trajectory: Trajectory, name: str) -> str | None:
        text = trajectory.task.metadata.get(name)
        if not isinstance(text, str | None):
            raise RewardError(f"task {trajectory.task.id!r}: {name} must be text, not {text!r}")
        return self._texts[name] if text is None else text

    def _judge(self, execution: Execution, expected: str | None) -> Score:
        printed = expected is None or same_output(execution.stdout, expected)
        fault = ending(execution) or ("" if printed else "it printed something else than was expected")
        parts = {"ran": float(execution.ok), "wall_s": execution.wall_s, "memory_mb": execution.memory_mb}
        if expected is not None:
            parts["printed"] = float(printed)
        return Score(
            value=0.0 if fault else 1.0,
            parts=parts,
            explanation=fault,
            metadata={
                "exit_code": execution.exit_code,
                "limit": execution.limit,
                "stdout": tail(execution.stdout),
                "stderr": tail(execution.stderr),
            },
        )
