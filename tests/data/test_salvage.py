"""What strict JSON readers refuse is replaced, told, and never more than that."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from siod.data.checking.salvage import MOST_LEVELS, UnreadableError, as_utf8, decoded, loads


def read(text: str) -> tuple[object, list[tuple[str, str]]]:
    told: list[tuple[str, str]] = []
    return loads(text.encode("utf-8", "surrogatepass"), "x", lambda kind, where: told.append((kind, where))), told


def test_each_replacement_is_told_with_its_place() -> None:
    data, told = read(r'{"a": [1, NaN, -1e999], "b": "c\ud800", "\udfff": 2}')
    assert data == {"a": [1, None, None], "b": "c\ufffd", "\ufffd": 2}
    assert told == [("not-finite", "x.a[1]"), ("not-finite", "x.a[2]"), ("not-unicode", "x.b"), ("not-unicode", "x")]


@given(
    st.recursive(
        st.integers() | st.text() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_sound_data_is_left_as_it_is(data: object) -> None:
    assert read(json.dumps(data)) == (data, [])
    raw = msgspec.Raw(msgspec.json.encode(data))
    assert decoded(raw, "x", lambda kind, where: pytest.fail(f"{kind} {where}")) == (data, True)


@pytest.mark.parametrize("text", ["", "{", "9" * 5000, "[" * 100_000, "[" * MOST_LEVELS + "1" + "]" * MOST_LEVELS])
def test_what_nobody_reads_and_what_is_too_deep_is_refused(text: str) -> None:
    with pytest.raises(UnreadableError):
        read(text)


@given(st.text())
def test_text_in_utf_8_is_left_alone(text: str) -> None:
    content = json.dumps({"a": text}, ensure_ascii=False).encode("utf-8", "replace")
    assert as_utf8(content) == (content, "")
