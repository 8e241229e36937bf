"""Tags as values, and packed for clouds that take few and short ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotdesk.providers.cloud.vocabulary import is_ours, marked, packed, read, unpacked

WORDS = st.sampled_from(["desk", "name", "goal", "generation", "born", "line", "image", "gpu", "usd"])
ALONE = frozenset({"desk", "name", "goal"})


@given(st.dictionaries(WORDS, st.text(max_size=60)), st.integers(20, 256))
def test_what_is_packed_is_read_back(tags: dict[str, str], longest: int) -> None:
    told = packed(tags, {key for key in ALONE if len(tags.get(key, "")) <= longest}, 1000, longest)
    assert unpacked(told) == tags
    assert all(len(value) <= longest for value in told.values())
    assert not any("://" in value for key, value in told.items() if key not in ALONE)


def test_all_of_a_machines_tags_fit_into_twenty_of_128_characters() -> None:
    """Alibaba Cloud's limits (TagResources); two are the mark and the name that its console shows."""
    tags = {
        "desk": "d" * 32, "name": f"hotdesk-{'d' * 32}-g100-0badc0de", "goal": "running", "generation": "100",
        "born": "1764442800.123456", "attempt": "3", "owner": f"user/{'a' * 58}", "market": "on-demand",
        "usd": "0.5260000000000001", "priced": "1764442800.0", "gpu": "RTX PRO 6000",
        "scratch": "419.0951585769653", "user": "ubuntu", "arch": "x86_64", "boot": "uefi-preferred",
        "tpm": "v2.0", "root": "/dev/xvda",
        "parts": ",".join(f"/dev/sd{x}=0123456789abcdef0" for x in "abcdef"),
        "version": "10.20.30", "keys": f"hotdesk-{'d' * 32}-g99-0badc0de",
        "image": "cn-hangzhou/m-bp67acfmxazb4p6yxb3y", "line": ",".join(["0badc0de@rvqk2g.123456"] * 11),
        "computer": f"{'h' * 60}-4f2a",
    }  # fmt: skip
    told = packed(tags, {"desk", "name", "goal", "generation"}, 18, 128)
    assert len(told) <= 18
    assert unpacked(told) == tags
    assert {key: told[key] for key in ("desk", "goal")} == {"desk": "d" * 32, "goal": "running"}


def test_nothing_is_cut_off_in_silence() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        packed({"desk": "d" * 129}, {"desk"}, 18, 128)
    with pytest.raises(ValueError, match="do not fit"):
        packed({"line": "x" * 128 * 18}, (), 18, 128)


@given(st.dictionaries(WORDS, st.text(max_size=60)), st.integers(20, 60), st.data())
def test_where_a_part_is_missing_no_value_is_made_up(
    tags: dict[str, str], longest: int, data: st.DataObject
) -> None:
    told = packed(tags, (), 1000, longest)
    for lost in data.draw(st.sets(st.sampled_from(sorted(told)))) if told else ():
        del told[lost]
    assert unpacked(told).items() <= tags.items()


def test_tags_that_somebody_changed_are_read_as_far_as_they_can_be() -> None:
    told = packed({"desk": "blue", "gpu": "L4", "user": "ubuntu"}, {"desk"}, 18, 10)
    del told["more1"]
    assert unpacked(told) == {"desk": "blue", "gpu": "L4"}
    assert unpacked({"more0": ";;=x;a", "morex": "1"}) == {"morex": "1"}
    assert unpacked({}) == {}


def test_the_mark_and_our_prefix_tell_our_tags_from_others() -> None:
    written = marked({"desk": "blue", "goal": "running"})
    assert written == {"hotdesk": "1", "hotdesk:desk": "blue", "hotdesk:goal": "running"}
    assert read(written | {"desk": "red", "Name": "x"}) == {"desk": "blue", "goal": "running"}
    assert is_ours(written)
    assert not is_ours({"hotdesk:desk": "blue"})
    assert not is_ours({"hotdesk": "0"})
