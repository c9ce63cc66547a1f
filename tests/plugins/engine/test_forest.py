"""The plan of forward passes: budgets, order, and what common beginnings save."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardkit_plugins.engine.forest import Tree, common_prefix, plan


def members(passes):
    return sorted(i for trees in passes for tree in trees for i in tree.members)


@given(
    st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=90), max_size=20),
    st.integers(1, 400),
    st.booleans(),
)
def test_every_sequence_is_in_one_pass_and_its_trunk_is_its_beginning(sequences, budget, share):
    passes = plan(sequences, budget, share=share)
    assert members(passes) == list(range(len(sequences)))
    for tree in (tree for trees in passes for tree in trees):
        first = sequences[tree.members[0]]
        assert tree.tokens == tree.trunk + sum(len(sequences[i]) - tree.trunk for i in tree.members)
        for i in tree.members:
            assert sequences[i][: tree.trunk] == first[: tree.trunk]
            assert len(sequences[i]) > tree.trunk
    for trees in passes:
        assert len(trees) == 1 or sum(tree.tokens for tree in trees) <= budget


def test_passes_are_longest_first_and_keep_to_the_budget():
    sequences = [[0] * n for n in (10, 50, 20, 40, 30)]
    passes = plan(sequences, 60, share=False)
    assert [[tree.tokens for tree in trees] for trees in passes] == [[50], [40], [30, 20, 10]]


def test_padding_counts_against_the_budget():
    sequences = [[0] * n for n in (30, 10, 10, 10)]
    assert [len(trees) for trees in plan(sequences, 60, share=False, padded=True)] == [2, 2]
    assert [len(trees) for trees in plan(sequences, 60, share=False)] == [4]


def test_a_common_beginning_becomes_one_tree():
    trunk = list(range(100))
    sequences = [[*trunk, 900 + i] for i in range(5)]
    assert plan(sequences, 1000, share=True) == [[Tree(100, (0, 1, 2, 3, 4), 105)]]


def test_conversations_with_one_system_prompt_are_parted_where_they_part():
    system = list(range(1000, 1040))
    contexts = [system + [i] * 200 for i in (1, 2, 3)]
    sequences = [[*context, 50 + i] for context in contexts for i in range(10)]
    random.Random(0).shuffle(sequences)
    trees = [tree for trees in plan(sequences, 5000, share=True) for tree in trees]
    assert sorted((tree.trunk, len(tree.members)) for tree in trees) == [(240, 10)] * 3


def test_one_of_several_contexts_alone_does_not_spoil_the_others():
    system = list(range(1000, 1040))
    sequences = [system + [1] * 200] + [[*system, *[2] * 200, 50 + i] for i in range(4)]
    trees = [tree for trees in plan(sequences, 5000, share=True) for tree in trees]
    assert sorted((tree.trunk, len(tree.members)) for tree in trees) == [(0, 1), (240, 4)]


def test_short_beginnings_and_small_savings_are_not_worth_it():
    short = [[*range(20), i, i] for i in range(100, 110)]
    assert all(tree.trunk == 0 for trees in plan(short, 500, share=True) for tree in trees)
    rare = [[*range(40), *[i] * 400] for i in (100, 200)]
    assert all(tree.trunk == 0 for trees in plan(rare, 500, share=True) for tree in trees)


def test_many_branches_are_cut_into_passes_that_repeat_the_trunk_seldom():
    trunk = list(range(500))
    sequences = [[*trunk, *[1000 + i] * 12] for i in range(400)]
    passes = plan(sequences, 1000, share=True)
    assert len(passes) == 4  # of 500 + 1500 tokens each, not 500 + 500
    assert all(sum(tree.tokens for tree in trees) <= 2000 for trees in passes)


def test_a_prefix_of_another_sequence_keeps_a_token_of_its_own():
    sequences = [list(range(n)) for n in (60, 70, 80)]
    ((tree,),) = plan(sequences, 500, share=True)
    assert tree.trunk == 59
    assert plan([[1] * 50, [1] * 50], 500, share=True)[0][0].trunk == 49


@pytest.mark.parametrize(
    ("one", "other", "length"),
    [([], [1], 0), ([1, 2, 3], [1, 2, 4], 2), ([1, 2], [1, 2, 4], 2), ([1, 2], [1, 2], 2), ([2], [1], 0)],
)
def test_the_common_beginning_of_two_sequences(one, other, length):
    assert common_prefix(one, other) == length


def test_a_conversation_cut_at_a_thousand_steps_is_planned():
    sequences = [list(range(length)) for length in range(1, 1500)]
    passes = plan(sequences, 5000, share=True)
    assert sorted(i for trees in passes for tree in trees for i in tree.members) == list(range(len(sequences)))
    assert plan([], 5000, share=True) == []
