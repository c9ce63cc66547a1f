"""Other people's environments, each run by an interpreter of its own: their packages pin versions that are not ours.

`python peer_environments.py gem < answers.jsonl` needs gem-llm (with the packages that it imports), `... openenv`
needs openenv-core. Both print one line of JSON: steps a second, and what was paid. Nothing of rewardkit is imported.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any


def gem(rows: list[dict[str, str]]) -> dict[str, Any]:
    """Play each row in GEM's MathEnv: reset, then one step with the row's answer."""
    from datasets import Dataset
    from gem.envs.math_env import MathEnv

    env = MathEnv(dataset=Dataset.from_list(rows))
    answers = {row["problem"]: row["response"] for row in rows}
    env.step(answers[env.reset()[0]])  # starts its workers
    paid, seconds = 0, 0.0
    for _ in rows[1:]:
        shown, _ = env.reset()
        action = answers[shown]
        start = time.perf_counter()
        reward = env.step(action)[1]
        seconds += time.perf_counter() - start
        paid += reward == 1.0
    env.mp_pool.terminate()
    return {"steps_per_second": (len(rows) - 1) / seconds, "right": paid}


def openenv(steps: int = 3000) -> dict[str, Any]:
    """Step an echo environment over OpenEnv's own WebSocket client and server, on this machine."""
    import asyncio

    server = subprocess.Popen([sys.executable, __file__, "openenv-server"], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        return asyncio.run(_steps(port, steps))
    finally:
        server.terminate()
        server.wait()


async def _steps(port: int, steps: int) -> dict[str, Any]:
    from openenv.core import EnvClient
    from openenv.core.client_types import StepResult

    class Client(EnvClient):  # type: ignore[misc,type-arg]
        def _step_payload(self, action: str) -> dict[str, str]:
            return {"message": action}

        def _parse_result(self, payload: dict[str, Any]) -> Any:
            return StepResult(observation=payload["observation"], reward=payload.get("reward"), done=payload["done"])

        def _parse_state(self, payload: dict[str, Any]) -> Any:
            return payload

    async with Client(base_url=f"http://127.0.0.1:{port}") as client:
        await client.reset()
        for _ in range(200):
            await client.step("warm")
        start = time.perf_counter()
        for _ in range(steps):
            answer = await client.step("hello, world")
        seconds = time.perf_counter() - start
    return {"steps_per_second": steps / seconds, "right": answer.observation["echoed_message"] == "hello, world"}


def serve() -> None:
    """Serve the echo environment on a free port, which is printed."""
    import socket

    import uvicorn
    from openenv.core.env_server import create_fastapi_app
    from openenv.core.env_server.interfaces import Environment
    from openenv.core.env_server.types import Action, Observation, State

    class EchoAction(Action):
        message: str

    class EchoObservation(Observation):
        echoed_message: str = ""

    class Echo(Environment):  # type: ignore[misc,type-arg]
        SUPPORTS_CONCURRENT_SESSIONS = True

        def reset(self, **_: Any) -> EchoObservation:
            return EchoObservation(echoed_message="ready", done=False, reward=0.0)

        def step(self, action: EchoAction, **_: Any) -> EchoObservation:
            return EchoObservation(echoed_message=action.message, done=False, reward=0.1 * len(action.message))

        @property
        def state(self) -> State:
            return State(episode_id="bench", step_count=0)

    listening = socket.create_server(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)
    app = create_fastapi_app(Echo, EchoAction, EchoObservation)
    uvicorn.Server(uvicorn.Config(app, log_level="error")).run([listening])


if __name__ == "__main__":
    if sys.argv[1] == "openenv-server":
        serve()
    else:
        found = openenv() if sys.argv[1] == "openenv" else gem([json.loads(line) for line in sys.stdin])
        print(json.dumps(found))
