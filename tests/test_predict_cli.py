"""hotdesk predict, as a user types it."""

from __future__ import annotations

import json

import pytest

from tests.conftest import Command

FAMILY = ("--family", "cnn", "--precision", "fp16")


def test_the_json_has_what_was_promised(hotdesk: Command) -> None:
    done = hotdesk("predict", "--from", "V100=833", "--from", "A100=1396", "--to", "H100", *FAMILY, "--json")
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)
    assert 0 < got["low"] < got["rate"] < got["high"]
    assert got["rate"] > 1396
    assert got["evidence"] == "specification"
    assert got["gpu"] == "H100 SXM5"
    assert {one["gpu"] for one in got["from"]} == {"V100 SXM2 16GB", "A100 SXM4 40GB"}
    assert any("H100 was taken as" in note for note in got["notes"])


@pytest.mark.parametrize(
    "given",
    [
        ["--from", "V100=833", "--from", "RTX 3090=905"],
        ["--from", "V100=833", "RTX 3090=905"],
        ["--from", "V100=833,RTX 3090=905"],
    ],
)
def test_several_rates_in_any_of_three_ways(hotdesk: Command, given: list[str]) -> None:
    done = hotdesk("predict", *given, "--to", "A100", *FAMILY, "--json")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["from"]) == 2


def test_a_table_for_people(hotdesk: Command) -> None:
    done = hotdesk("predict", "--from", "A100=1396", "--to", "L4", "--to", "A100", *FAMILY)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert "specification" in lines[1]
    assert "measured" in lines[2]
    assert "72 W" in done.stderr


def test_a_bench_gives_a_ratio(hotdesk: Command) -> None:
    done = hotdesk(
        *("predict", "--from", "V100=50", "--bench", "V100=100", "--bench", "A100=180"),
        *("--to", "A100", *FAMILY, "--json"),
    )
    got = json.loads(done.stdout)
    assert got["evidence"] == "same-family ratio"
    assert got["rate"] == pytest.approx(90)


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--from", "A100=1396", "--to", "K80", *FAMILY], 3, "cannot run fp16"),
        (
            ["--from", "A100=1", "--to", "V100", "--family", "cnn", "--precision", "tf32"],
            3,
            "--precision fp32",
        ),
        (["--from", "A100=1396", "--to", "T4", *FAMILY, "--memory-gib", "20"], 3, "does not fit"),
        (["--from", "T4=99999", "--to", "L4", *FAMILY, "--gflop-per-item", "24"], 3, "impossible"),
        (["--from", "A100=1396", "--to", "A1000000", *FAMILY], 4, "no facts"),
        (["--from", "A100", "--to", "L4", *FAMILY], 2, "not a measured rate"),
        (["--from", "A100=fast", "--to", "L4", *FAMILY], 2, "not a measured rate"),
        (["--from", "A100=-3", "--to", "L4", *FAMILY], 2, "not a measured rate"),
        (["--from", "A100=nan", "--to", "L4", *FAMILY], 2, "not a measured rate"),
        (["--to", "L4", *FAMILY], 2, "Still needed: --from GPU=RATE"),
        (["--from", "A100=5", "--to", "L4", *FAMILY, "--memory-gib", "-1"], 2, "impossible"),
        (["--from", "A100=5", *FAMILY], 2, "--to"),
        (["--from", "A100=5", "--to", "L4", "--family", "rnn"], 2, "rnn"),
    ],
)
def test_what_cannot_be_is_refused_in_three_lines(
    hotdesk: Command, words: list[str], status: int, said: str
) -> None:
    done = hotdesk("predict", *words)
    assert done.returncode == status, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_the_fallback_compares_at_fp32(hotdesk: Command) -> None:
    words = ("predict", "--from", "A100=1014", "--to", "V100", "--family", "cnn", "--precision", "tf32")
    done = hotdesk(*words, "--fallback", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["rate"] < 1014
