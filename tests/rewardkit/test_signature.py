import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardkit.signature import Signature, option_text


def test_a_signature_reads_like_sacrebleus():
    assert (
        str(Signature("bleu", {"order": "4", "smooth": "add-k", "v": "0.1.0"})) == "bleu|order:4|smooth:add-k|v:0.1.0"
    )


@given(st.text(min_size=1), st.dictionaries(st.text(min_size=1), st.text()))
def test_every_signature_parses_back(name, fields):
    signature = Signature(name, fields)
    assert Signature.parse(str(signature)) == signature
    assert "+" not in str(signature)
    assert not any(c.isspace() for c in str(signature))


def test_a_field_without_a_value_is_refused():
    with pytest.raises(ValueError, match="without ':'"):
        Signature.parse("bleu|order")


def test_long_options_are_hashed_and_mappings_do_not_depend_on_order():
    assert option_text({"b": 1, "a": [None, True]}) == '{"a":[null,true],"b":1}'
    assert option_text("x" * 81).startswith("sha256-")
    assert option_text("x" * 80) == "x" * 80


def test_half_a_character_survives_a_signature():
    signature = Signature("r", {"prefix": "\udc80 a"})
    assert Signature.parse(str(signature)) == signature
    assert option_text("\udc80" * 90).startswith("sha256-")
