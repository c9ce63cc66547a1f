r"""Mathematics as an environment: answer at once, or after calls of a calculator and of Python in a sandbox.

Whether an answer is right is for the reward to say, `math` unless another is named. Proofs are not covered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rewardkit.errors import ConfigError
from rewardkit.programs import Execution, Limits, Program
from rewardkit.protocols import Sandbox
from rewardkit.types import Task
from rewardkit_envs.arithmetic import ArithmeticTasks
from rewardkit_envs.calculator import calculate
from rewardkit_envs.calls import Malformed, parse_call
from rewardkit_envs.env import TextEnv, Turn
from rewardkit_envs.sandboxes import LazySandbox
from rewardkit_envs.tasks import TaskSource

TOOLS = {
    "calculator": "works out one expression of numbers, + - * / // % **, sqrt and abs.",
    "python": "runs a program and shows what it prints. Nothing is kept from one program to the next.",
}
_LONGEST = 2000
_RULES = """\
You may call a tool, one at a time, and nothing behind the call:

Action: {example}
Action Input: {input}

{tools}

A reply without a call is your answer. You have {turns} replies."""


class MathEnv(TextEnv):
    """Tasks of mathematics; the reply that calls no tool is the answer and ends the episode.

    `tasks` are those of GSM8K, MATH and their like, with a reference that holds the answer; without any they are sums
    and differences (`arithmetic.ArithmeticTasks`), where only a number that is worked out pays. `tools` are some of
    "calculator" and "python", called as in `calls`; then there are 8 turns unless `max_turns` says otherwise, else one.
    `sandbox` (a name, or a sandbox) is where Python runs, `python_s` seconds at most.
    """

    default_reward = "math"

    def __init__(
        self,
        *,
        tasks: Any = None,
        reward: Any = "default",
        tools: Sequence[str] = (),
        max_turns: int | None = None,
        sandbox: str | Sandbox = "auto",
        python_s: float = 5.0,
        render_mode: str | None = None,
        defer_reward: bool = False,
    ) -> None:
        if isinstance(tools, str) or not set(tools) <= set(TOOLS):
            raise ConfigError(f"tools={tools!r}: give a list of some of {', '.join(TOOLS)}")
        turns = max_turns if max_turns is not None else 8 if tools else 1
        super().__init__(
            tasks=tasks, reward=reward, max_turns=turns, render_mode=render_mode, defer_reward=defer_reward
        )
        if isinstance(self.tasks, ArithmeticTasks) and self._rewards == "math":
            self._rewards = "math:require_number=true"  # else an echo of the question pays
        self.tools = tuple(tools)
        self._sandbox = LazySandbox(sandbox)
        self._limits = Limits(wall_s=python_s, cpu_s=python_s)

    def default_tasks(self) -> TaskSource:
        """Return sums and differences of numbers below 100."""
        return ArithmeticTasks()

    def begin(self, task: Task) -> str:  # noqa: ARG002  the rules are the same for all
        """Return how to call the tools, if there are any."""
        if not self.tools:
            return ""
        listed = "\n".join(f"{name} {TOOLS[name]}" for name in self.tools)
        example, given = ("calculator", "2 * (3 + 4)") if "calculator" in self.tools else ("python", "print(2**10)")
        return _RULES.format(example=example, input=given, tools=listed, turns=self.max_turns)

    def act(self, action: str) -> Turn:
        """Use a tool, or take the action for the answer."""
        call = parse_call(action, self.tools) if self.tools else None
        if call is None:
            return Turn(terminated=True)
        if isinstance(call, Malformed):
            return Turn(observation=call.reason)
        use, parameter = self._uses[call.name]
        given = call.text(parameter)
        return Turn(observation=given.reason if isinstance(given, Malformed) else use(given))

    def gold(self) -> str:
        """Return the answer."""
        references = self.episode.task.references
        if not references:
            raise ConfigError(f"task {self.episode.task.id!r} has no reference to answer with")
        marked = "####" in references[0] or "\\boxed" in references[0]
        return references[0] if marked else f"\\boxed{{{references[0]}}}"

    def close(self) -> None:
        """Close the rewards and the sandbox."""
        super().close()
        self._sandbox.close()

    @property
    def tool_schemas(self) -> list[dict[str, Any]]:
        """The tools as chat models are told of them, in OpenAI's shape."""
        return [_schema(name, self._uses[name][1]) for name in self.tools]

    @property
    def _uses(self) -> dict[str, tuple[Callable[[str], str], str]]:
        return {"calculator": (_calculated, "expression"), "python": (self._ran, "code")}

    def _ran(self, code: str) -> str:
        return shown(self._sandbox.run(Program(code=code, limits=self._limits)))


def _schema(name: str, parameter: str) -> dict[str, Any]:
    takes = {"type": "object", "properties": {parameter: {"type": "string"}}, "required": [parameter]}
    function = {"name": name, "description": f"It {TOOLS[name]}", "parameters": takes}
    return {"type": "function", "function": function}


def _calculated(expression: str) -> str:
    try:
        return calculate(expression)
    except ValueError as error:
        return f"Error: {error}"


def shown(execution: Execution, *, longest: int = _LONGEST) -> str:
    """Return what an agent is shown of a program: its output and how it ended, at most about `longest` characters."""
    output = _cut(execution.stdout, longest)
    if execution.ok:
        return output or "(the program printed nothing)"
    how = f"ran into its limit {execution.limit}" if execution.limit else f"ended with status {execution.exit_code}"
    parts = (output, _cut(execution.stderr, longest // 2), f"(the program {how})")
    return "\n".join(part for part in parts if part)


def _cut(output: bytes, longest: int) -> str:
    """Return output as text, its middle left out where it is longer."""
    text = output.decode("utf-8", "replace").strip("\n")
    if len(text) <= longest:
        return text
    half = longest // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters ...\n{text[-half:]}"
