"""The vectors of process rewards, by name."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def vectors(shared):
    """`vectors("rpe")` are the cases of that name, or skips the test."""

    def of(name):
        return json.loads(shared("specs/vectors/steps_tokens.json").read_text())[name]

    return of
