"""Whatever others have written, in bytes or in structure, is read as a value or is an error for a person."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import get_type_hints

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import settings as tries
from hypothesis import strategies as st

from hotdesk.core import wire
from tests import parsers

_PLAIN = st.none() | st.booleans() | st.integers(-(1 << 63), 1 << 63) | st.floats() | st.text(max_size=8)
_VALUES = st.recursive(
    _PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def given_to(draw: st.DrawFn, name: str) -> bytes:
    """Bytes that may be anything: from nowhere, of some structure, or what is understood with changes."""
    seeds = parsers.SEEDS[name]
    how = draw(st.integers(0, 4))
    if how == 0 or not seeds:
        return draw(st.binary(max_size=200))
    if how == 1:
        return msgspec.json.encode(draw(_VALUES))
    seed = draw(st.sampled_from(seeds))
    if how == 2:  # a piece of it is another
        at = draw(st.integers(0, len(seed)))
        return seed[:at] + draw(st.binary(max_size=9)) + seed[at + draw(st.integers(0, 20)) :]
    if how == 3:  # it stops
        return seed[: draw(st.integers(0, len(seed)))]
    return _another(seed, draw)


def _another(seed: bytes, draw: st.DrawFn) -> bytes:
    """A value within a structure is another."""
    try:
        value = wire.json(seed)
    except msgspec.DecodeError:
        return seed * 2
    at = value
    while isinstance(at, (dict, list)) and at:
        key = draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
        if not isinstance(at[key], (dict, list)) or not at[key] or draw(st.integers(0, 3)) == 0:
            at[key] = draw(_VALUES)
            break
        at = at[key]
    return msgspec.json.encode(value)


@pytest.fixture(scope="module", autouse=True)
def _cleared() -> Iterator[None]:
    yield
    parsers.clear()


@pytest.mark.parametrize("name", parsers.TARGETS)
def test_whatever_comes_is_a_value_or_an_error_for_a_person(name: str) -> None:
    call, may = parsers.TARGETS[name], parsers.ALLOWED[name]

    @tries(max_examples=40, database=None)
    @given(given_to(name))
    def any_bytes(data: bytes) -> None:
        with contextlib.suppress(may):
            call(data)

    any_bytes()
    for seed in parsers.SEEDS[name]:
        with contextlib.suppress(may):
            call(seed)


@pytest.mark.parametrize(
    "data", [b'{"a": "\xff"}', b'{"a": ' + b"[" * 100_000, b'{"a": 1e999}', b'{"a": "\\ud800"}', b"\xff", b""]
)
def test_whatever_is_wrong_is_one_kind_of_error(data: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        wire.json(data, dict[str, object])
    with pytest.raises(msgspec.DecodeError):
        wire.msgpack(data[1:], dict[str, object])


@pytest.mark.parametrize(
    "text", ["a = 1" + "0" * 5000, "a = " + "[" * 10_000, "a = 2026-99-99", "a = 1\na = 2"]
)
def test_whatever_is_wrong_with_toml_is_one_kind_of_error(text: str) -> None:
    with pytest.raises(msgspec.DecodeError):
        wire.toml(text)


# ---- the page ----------------------------------------------------------------------------------------

_CALLS = (
    "plan", "notebook", "forward", "forward-stop", "cancel", "job-plan", "run-plan", "sweep-plan",
    "sweep-retry", "sweep-cancel", "terminal",
)  # fmt: skip


def _like(kind: type) -> st.SearchStrategy[object]:
    """Objects with some of the fields of a type; most have values of the right type."""
    hints = get_type_hints(kind)
    fields = {name: st.from_type(hint) | _PLAIN for name, hint in hints.items() if name != "return"}
    return st.fixed_dictionaries({}, optional=fields)


@pytest.mark.parametrize("call", _CALLS)
def test_a_page_gets_an_answer_to_whatever_it_sends(home: Path, tmp_path: Path, call: str) -> None:
    """No desk is there: of each name it is said so, and nothing of this is hotdesk's own failure."""
    pytest.importorskip("starlette", reason="the extra web is not installed")
    pytest.importorskip("wsproto", reason="the extra web is not installed")
    from hotdesk.web import at_desk, server
    from tests.web_served import serving

    kind = server.CHANGES[call][0] if call in server.CHANGES else at_desk.Named
    with serving(tmp_path / "state") as page:

        @tries(max_examples=25, database=None)
        @given(_like(kind) | _VALUES)
        @example({"number": 1 << 63, "tasks": [1 << 63]})  # SQLite has no such number
        def any_object(body: object) -> None:
            status, said = page.post(f"/api/{call}", body)
            assert status in {200, 400, server.FAILED}, said

        any_object()
        bare = msgspec.Raw(b'"\xff"')  # JSON that is no text
        assert page.post(f"/api/{call}", bare)[0] == 400
