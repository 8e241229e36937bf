"""The options of what is clicked, and the line for a terminal that says the same."""

from __future__ import annotations

from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("starlette", reason="the extra web is not installed")

from hotdesk.cli.main import hotdesk as commands
from hotdesk.services.exposure import CALLER
from hotdesk.web import at_desk, verbs

_asked = st.builds(
    verbs.Asked,
    verb=st.sampled_from(get_args(get_type_hints(verbs.Asked)["verb"])),
    name=st.sampled_from(["blue", "a1"]),
    instance_type=st.sampled_from(["", "g6.xlarge"]),
    gpu=st.sampled_from(["", "L4", "A100:8"]),
    market=st.sampled_from(["", "spot", "cheapest"]),
    regions=st.sampled_from([(), ("us-west-2",), ("us-west-2", "eu-west-1")]),
    zone=st.sampled_from(["", "us-west-2b"]),
    disk_gib=st.sampled_from([None, 200]),
    image=st.sampled_from(["", "ami-1"]),
    initialization_rate=st.sampled_from([None, 300]),
    usd_per_hour_max=st.sampled_from([None, 0.0, 1.25]),
    over_budget=st.booleans(),
)
#: By verb, the options of its own, and what click makes of them.
OWN: dict[str, dict[str, dict[str, Any]]] = {
    "up": {
        "options": {
            "origin": "img-1",
            "wait": "2h",
            "lease": "4h",
            "rescue": True,
            "notify": True,
            "fresh": True,
        },
        "read": {"origin": "img-1", "wait": 2.0, "rescue": True, "notify": True, "fresh": True},
    },
    "resume": {"options": {"origin": "img-1"}, "read": {"origin": "img-1"}},
    "start": {
        "options": {"rescue": True, "over_budget": True},
        "read": {"rescue": True, "over_budget": True},
    },
    "park": {"options": {"there": True, "no_wait": True}, "read": {"there": True, "no_wait": True}},
    "stop": {"options": {}, "read": {}},
    "move": {
        "options": {"route": "direct", "keep_old": "2d"},
        "read": {"route": "direct", "keep_hours": 48.0},
    },
    "down": {"options": {"keep_logs": True}, "read": {"keep_logs": True}},
    "stay": {"options": {"off": True}, "read": {"off": True}},
    "disk": {"options": {"disk_gib": 300}, "read": {"gib": 300}},
}


@pytest.mark.parametrize("verb", get_args(get_type_hints(verbs.Asked)["verb"]))
def test_the_options_of_a_verb_are_those_of_its_command(verb: Any) -> None:
    asked = verbs.Asked(verb=verb, name="blue", **OWN[verb]["options"])
    command = commands.get_command(None, verb)  # type: ignore[arg-type]
    assert command is not None
    read = command.make_context(verb, asked.line[2:]).params
    assert {name: read[name] for name in OWN[verb]["read"]} == OWN[verb]["read"]


@pytest.mark.parametrize(("to", "read"), [(CALLER, CALLER), ("203.0.113.0/24", "203.0.113.0/24")])
def test_whom_a_jupyter_is_open_to_is_in_the_line(to: str, read: str) -> None:
    line = verbs.Asked(verb="up", name="blue", public_to=to).line
    assert line[3:] == (["--public"] if to == CALLER else ["--public-to", read])


@pytest.mark.parametrize(
    "asked",
    [
        at_desk.Files(name="blue", verb="push", sources=("/a b/c", "~/d/"), to="e", all=True, anyway=True),
        at_desk.Files(name="blue", verb="pull", sources=("results",), to="/tmp/x", anyway=True),
    ],
    ids=["push", "pull"],
)
def test_the_line_of_files_is_the_command_that_copies_them(asked: at_desk.Files) -> None:
    command = commands.get_command(None, asked.verb)  # type: ignore[arg-type]
    assert command is not None
    read = command.make_context(asked.verb, asked.line[2:]).params
    assert (read["name"], read["sources"], read["target"]) == ("blue", asked.sources, asked.to)
    assert bool(read.get("everything")) == asked.all
    assert bool(read.get("yes")) == (asked.verb == "push")


@given(_asked)
def test_the_line_to_copy_is_the_command_with_these_options(request: verbs.Asked) -> None:
    """click reads it back: every option is one of that command, and has the value that was asked for."""
    if request.verb not in {"up", "resume", "move"}:  # the others choose no hardware
        ends = request.verb in verbs.ENDS
        size = 300 if request.verb == "disk" else None
        request = verbs.Asked(verb=request.verb, name=request.name, seconds="2h", anyway=ends, disk_gib=size)
    program, verb, *words = request.line
    assert program == "hotdesk"
    command = commands.get_command(None, verb)  # type: ignore[arg-type]
    assert command is not None
    read = command.make_context(verb, words).params
    assert request.name in (read.get("name"), *(read.get("words") or ()))
    for name, value in request.given.items():
        assert read["gib" if verb == "disk" else name] == value, name
    assert bool(read.get("yes")) == request.anyway
