"""The built-in rewards and environments as data: what `rewardkit rewards` and `rewardkit envs` list. Imports none.

The environments are named here, because a plugin inside `rewardkit_envs` would import gymnasium, and numpy with it,
whenever plugins are loaded.
"""

from __future__ import annotations

from rewardkit.hookspecs import hookimpl
from rewardkit.registry import CommandSpec, EnvSpec, Need, RewardSpec

_REFERENCES: frozenset[Need] = frozenset({"references"})
_GPU: frozenset[Need] = frozenset({"gpu"})
_SANDBOX: frozenset[Need] = frozenset({"sandbox"})
_MODEL_REWARDS = {
    "reward_model": (
        "RewardModel",
        "What a trained reward model says: one output or several, with a gate, or an ensemble",
    ),
    "process_reward": (
        "ProcessReward",
        "What a process reward model says of each step, in seven published formats, aggregated",
    ),
    "follow_up_likelihood": (
        "FollowUpLikelihood",
        "How much likelier a pleased user's next words are than a displeased one's (FLR)",
    ),
    "response_likelihood": (
        "ResponseLikelihood",
        "Log-probability of the answer under a language model",
    ),
    "implicit_reward": (
        "ImplicitReward",
        "How much likelier a policy trained by preferences finds the answer than its reference (DPO)",
    ),
    "autoregressive_reward": (
        "AutoregressiveReward",
        "Log-probability of the answer under an autoregressive reward model (GenARM)",
    ),
    "self_certainty": (
        "SelfCertainty",
        "How far the model's predictions along the answer are from knowing nothing",
    ),
    "self_certainty_vote": (
        "SelfCertaintyVote",
        "Share of the votes for an attempt's answer, weighed by self-certainty (Borda)",
    ),
    "relevance": (
        "Relevance",
        "Nearness to the question, references or passages by sentence embeddings",
    ),
}


@hookimpl
def rewardkit_rewards() -> list[RewardSpec]:
    """Return the built-in rewards."""
    return [
        RewardSpec(
            name="math",
            factory="rewardkit_plugins.math.reward:MathReward",
            extra="math",
            requires=("mpmath",),
            summary="1 if the final answer is mathematically equal to a reference",
            needs=_REFERENCES,
        ),
        RewardSpec(
            name="exact_match",
            factory="rewardkit_plugins.rules.exact_match:ExactMatch",
            summary="1 if the answer equals a reference, after normalisation if asked",
            needs=_REFERENCES,
        ),
        RewardSpec(
            name="regex",
            factory="rewardkit_plugins.rules.regex:Regex",
            summary="1 if the completion matches a pattern",
        ),
        RewardSpec(
            name="format",
            factory="rewardkit_plugins.rules.format:Format",
            summary="1 if think/answer tags are there, once, in order, and nothing after them",
        ),
        RewardSpec(
            name="json_format",
            factory="rewardkit_plugins.rules.json_format:JsonFormat",
            extra="json",
            requires=("jsonschema",),
            summary="1 if the completion is JSON that fits a schema",
        ),
        RewardSpec(
            name="goal_state",
            factory="rewardkit_plugins.rules.goal_state:GoalState",
            summary="1 if the world ended as the task's goal says, judged by what the environment saved of it",
        ),
        RewardSpec(
            name="length",
            factory="rewardkit_plugins.rules.length:Length",
            summary="Length shaping: target band, soft overlong penalty, cosine",
        ),
        RewardSpec(
            name="length_group",
            factory="rewardkit_plugins.rules.length_group:LengthGroup",
            summary="Length within a group of attempts: shorter right answers first (Kimi k1.5)",
            needs=frozenset({"group", "references"}),
        ),
        RewardSpec(
            name="repetition",
            factory="rewardkit_plugins.rules.repetition:Repetition",
            summary="Penalty for repeated n-grams",
        ),
        RewardSpec(
            name="bleu",
            factory="rewardkit_plugins.text.bleu:Bleu",
            extra="text",
            requires=("numpy",),
            summary="BLEU against the references, in [0, 1]; BLEUBERI's exact rule by default",
            needs=_REFERENCES,
            batch_size=64,
        ),
        RewardSpec(
            name="rouge",
            factory="rewardkit_plugins.text.rouge:Rouge",
            extra="text",
            requires=("rapidfuzz",),
            summary="ROUGE F1 against the references, in [0, 1]",
            needs=_REFERENCES,
            batch_size=64,
        ),
        RewardSpec(
            name="chrf",
            factory="rewardkit_plugins.text.chrf:Chrf",
            extra="text",
            requires=("sacrebleu",),
            summary="chrF against the references, in [0, 1]",
            needs=_REFERENCES,
            batch_size=64,
        ),
        RewardSpec(
            name="unit_tests",
            factory="rewardkit_plugins.code.unit_tests:UnitTests",
            summary="1 if the program in the answer passes the tests of its task, or the share that it passes",
            needs=_SANDBOX,
            batch_size=4,
        ),
        RewardSpec(
            name="executes",
            factory="rewardkit_plugins.code.executes:Executes",
            summary="1 if the program in the answer ends by itself with exit status 0",
            needs=_SANDBOX,
            batch_size=8,
        ),
        RewardSpec(
            name="code_format",
            factory="rewardkit_plugins.code.code_format:CodeFormat",
            summary="1 if the answer holds code in a Markdown fence that parses; runs nothing",
        ),
        RewardSpec(
            name="sql",
            factory="rewardkit_plugins.code.sql:Sql",
            summary="1 if the query in the answer returns the rows of a gold query",
            needs=_SANDBOX,
            batch_size=8,
        ),
        RewardSpec(
            name="answer_f1",
            factory="rewardkit_plugins.rag.answer_f1:AnswerF1",
            summary="Words of the answer against the references: SQuAD's F1 or exact match, ALCE's STR-EM",
            needs=_REFERENCES,
        ),
        RewardSpec(
            name="citation",
            factory="rewardkit_plugins.rag.citation:Citation",
            summary="ALCE's citation recall and precision: what a sentence cites supports it, and all of it is needed",
            batch_size=16,
        ),
        RewardSpec(
            name="groundedness",
            factory="rewardkit_plugins.rag.groundedness:Groundedness",
            summary="Share of the answer's sentences that follow from the passages that were shown",
            batch_size=16,
        ),
        RewardSpec(
            name="abstention",
            factory="rewardkit_plugins.rag.abstention:Abstention",
            summary="1 for a right answer, or for declining where there is none",
        ),
        RewardSpec(
            name="conflict_robustness",
            factory="rewardkit_plugins.rag.conflict_robustness:ConflictRobustness",
            summary="1 for the right answer without what misleading passages say",
            needs=_REFERENCES,
        ),
        RewardSpec(
            name="r3",
            factory="rewardkit_plugins.rag.r3:R3",
            summary="Length, relevance and variety multiplied, by kind of question (R3); knows no truth",
            batch_size=64,
        ),
        *(_model_reward(name, *rest) for name, rest in _MODEL_REWARDS.items()),
    ]


@hookimpl
def rewardkit_envs() -> list[EnvSpec]:
    """Return the built-in environments; `rewardkit_envs` registers the same with gymnasium."""
    return [
        EnvSpec(
            name="rewardkit/Math-v0",
            entry_point="rewardkit_envs.math:MathEnv",
            summary="Mathematics: answer at once, or after calls of a calculator and of Python in a sandbox",
        ),
        EnvSpec(
            name="rewardkit/Code-v0",
            entry_point="rewardkit_envs.code:CodeEnv",
            summary="Programming: try programs on the public tests; the private tests pay at the end",
        ),
        EnvSpec(
            name="rewardkit/RAG-v0",
            entry_point="rewardkit_envs.rag:RAGEnv",
            extra="rag",
            summary="Questions over passages: search, open, answer with citations; some have no answer",
        ),
        EnvSpec(
            name="rewardkit/Agent-v0",
            entry_point="rewardkit_envs.agent:AgentEnv",
            summary="Act with tools in a world (shell, database, other packages' games) whose goal is checked",
        ),
    ]


@hookimpl
def rewardkit_commands() -> list[CommandSpec]:
    """Return the commands of the environments and of training."""
    return [
        CommandSpec(
            name="rollout",
            factory="rewardkit_envs.commands:rollout",
            summary="Play episodes of an environment into a file.",
        ),
        CommandSpec(
            name="train-rm",
            factory="rewardkit_plugins.training.commands:train_rm",
            extra="hf",
            summary="Train a reward model on pairs or ratings.",
        ),
    ]


def _model_reward(name: str, class_name: str, summary: str) -> RewardSpec:
    """Return the spec of a reward that reads a model."""
    compares: frozenset[Need] = frozenset({"group"}) if name == "self_certainty_vote" else frozenset()
    return RewardSpec(
        name=name,
        factory=f"rewardkit_plugins.models.{name}:{class_name}",
        extra="hf",
        requires=("torch", "transformers"),
        summary=summary,
        needs=_GPU | compares,
        batch_size=64,
    )
