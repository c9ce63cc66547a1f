"""What the tests of the RAG rewards share."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def alce(shared):
    """Numbers of ALCE's released code, by kind."""
    return json.loads(shared("specs/vectors/alce.json").read_text(encoding="utf-8"))
