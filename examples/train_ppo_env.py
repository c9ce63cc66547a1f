"""Teach a small network single-digit sums through `env.step()`, from nothing, with PPO and no trainer for LLMs.

The network (about 63,000 weights) reads the question character by character and writes at most three characters out of
ten digits and an end. All rewards come from `rewardkit/Math-v0`; nothing is supervised and there is no partial credit,
so it starts at the luck of random digits. Needs torch. Not covered: tasks held out; all of the 100 that there are are
played.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium
import torch
from curves import Run, draw, summary
from torch import Tensor, nn

import rewardkit_envs
from rewardkit_envs.arithmetic import ArithmeticTasks

gymnasium.register_envs(rewardkit_envs)
DIGITS = "0123456789"
END = len(DIGITS)
LONGEST = 3  # tokens of an answer, its end included
WIDTH = 40  # characters of a question
CODES = 128 + END + 2  # ASCII of the question, the tokens of the answer, and a place that is still empty


class Policy(nn.Module):
    """A network with two hidden layers over the question and what is written so far, with a value for the question."""

    def __init__(self, size: int = 128) -> None:
        super().__init__()
        self.embed = nn.Embedding(CODES, 8)
        self.body = nn.Sequential(nn.Linear(8 * (WIDTH + LONGEST), size), nn.ReLU(), nn.Linear(size, size), nn.ReLU())
        self.token, self.value = nn.Linear(size, END + 1), nn.Linear(size, 1)

    def forward(self, questions: Tensor, written: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of the token behind those `written`, and the values."""
        codes = nn.functional.pad(written, (0, LONGEST - written.shape[1]), value=END + 1) + 128
        hidden = self.body(self.embed(torch.cat([questions, codes], dim=1)).flatten(1))
        return self.token(hidden), self.value(hidden).squeeze(-1)

    @torch.no_grad()
    def sample(self, questions: Tensor) -> Tensor:
        """Return the tokens of one answer to each question."""
        tokens = questions.new_zeros((len(questions), 0))
        for _ in range(LONGEST):
            chances = self(questions, tokens)[0].softmax(-1)
            tokens = torch.cat([tokens, torch.multinomial(chances, 1)], dim=1)
        return tokens

    def judge(self, questions: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the log-probabilities of answers up to their end, the mean entropy, and the questions' values."""
        steps = [self(questions, tokens[:, :i]) for i in range(LONGEST)]
        chances = torch.distributions.Categorical(logits=torch.stack([logits for logits, _ in steps], dim=1))
        ends = (tokens == END).long()
        said = ends.cumsum(1) - ends == 0
        return (chances.log_prob(tokens) * said).sum(1), (chances.entropy() * said).sum(1).mean(), steps[0][1]


def encode(observations: Sequence[str]) -> Tensor:
    """Return the questions as numbers, blanks before those that are shorter than `WIDTH`."""
    return torch.tensor([list(text[-WIDTH:].rjust(WIDTH).encode("ascii", "replace")) for text in observations])


def decode(tokens: Tensor) -> list[str]:
    """Return answers as text, up to their end."""
    return ["".join(DIGITS[i] for i in row[: row.index(END) if END in row else None]) for row in tokens.tolist()]


def play(
    envs: Any, policy: Policy, observations: Sequence[str]
) -> tuple[Sequence[str], Tensor, Tensor, Tensor, Tensor]:
    """Answer each question once; return the next questions, these, the answers, their rewards, and which have one."""
    questions = encode(observations)
    tokens = policy.sample(questions)
    following, rewards, _, _, infos = envs.step(decode(tokens))
    missing = torch.as_tensor(infos["final_info"]["reward_missing"])  # no reward is no 0: it teaches nothing
    return following, questions, tokens, torch.as_tensor(rewards, dtype=torch.float32), ~missing


def improve(policy: Policy, optimizer: torch.optim.Optimizer, batch: tuple[Tensor, Tensor, Tensor]) -> None:
    """Take four passes of PPO over a batch of questions, answers and rewards."""
    questions, tokens, rewards = batch
    with torch.no_grad():
        before, _, values = policy.judge(questions, tokens)
        advantages = rewards - values
        advantages /= advantages.std() + 1e-6
    for _ in range(4):
        for part in torch.randperm(len(rewards)).split(256):
            now, entropy, values = policy.judge(questions[part], tokens[part])
            ratio = (now - before[part]).exp()
            gain = torch.minimum(ratio * advantages[part], ratio.clamp(0.8, 1.2) * advantages[part]).mean()
            loss = -gain + 0.5 * nn.functional.mse_loss(values, rewards[part]) - 0.05 * entropy
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
            optimizer.step()


def train(seed: int, *, updates: int, episodes: int) -> Run:
    """Train one network from a seed with so many episodes for each update."""
    torch.manual_seed(seed)
    policy = Policy()
    optimizer = torch.optim.Adam(policy.parameters(), lr=1e-3)
    envs = gymnasium.make_vec(
        "rewardkit/Math-v0",
        num_envs=episodes,
        autoreset_mode="SameStep",
        tasks=ArithmeticTasks(0, 9, "+"),
    )
    began = time.process_time()
    observations, _ = envs.reset(seed=seed)
    start = measure(envs, policy, observations)
    curve = []
    for _ in range(updates):
        observations, *batch, known = play(envs, policy, observations)
        questions, tokens, rewards = (column[known] for column in batch)
        curve.append(float(rewards.mean()))
        improve(policy, optimizer, (questions, tokens, rewards))
    end = measure(envs, policy, observations)
    envs.close()
    return Run(seed=seed, rewards=curve, start=start, end=end, seconds=time.process_time() - began)


def measure(envs: Any, policy: Policy, observations: Sequence[str], *, episodes: int = 2000) -> float:
    """Return the mean reward of at least so many episodes, sampled as in training."""
    rewards: list[float] = []
    while len(rewards) < episodes:
        observations, _, _, paid, known = play(envs, policy, observations)
        rewards += paid[known].tolist()
    return sum(rewards) / len(rewards)


def main() -> None:
    """Train from each seed, print how it went, and draw the curves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--updates", type=int, default=400)
    parser.add_argument("--episodes", type=int, default=512, help="of each update")
    parser.add_argument("--plot", type=Path, default=Path("train-ppo.svg"))
    options = parser.parse_args()
    runs = []
    for seed in options.seeds:
        runs.append(train(seed, updates=options.updates, episodes=options.episodes))
        print(runs[-1], flush=True)
    print(summary(runs))
    draw(options.plot, runs, title="PPO through env.step(): mean reward, single-digit sums")


if __name__ == "__main__":
    main()
