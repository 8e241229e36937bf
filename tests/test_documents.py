"""What the documents tell a reader to type, is there to be typed; and what they link to, is there."""

from __future__ import annotations

import contextlib
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from benchmarks import report
from hotdesk.cli.main import hotdesk

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "findings").glob("*.md")])
#: A line that stands for more than itself: `hotdesk up NAME …`, `hotdesk <command>`.
_STANDS_FOR = re.compile(r"…|\.\.\.|<\w+>|\|$")


def blocks(document: Path) -> Iterator[tuple[int, str, list[str]]]:
    """Fenced blocks: the line on which each begins, its language, its lines."""
    lines, inside, begun = document.read_text("utf-8").splitlines(), None, 0
    for number, line in enumerate(lines, 1):
        if not line.lstrip().startswith("```"):
            continue
        if inside is None:
            inside, begun = line.strip().strip("`"), number
        else:
            yield begun + 1, inside, lines[begun : number - 1]
            inside = None


def commands(document: Path) -> Iterator[tuple[int, list[str]]]:
    """The commands of hotdesk's in console and shell blocks and between backticks: their line and words."""
    for begun, language, lines in blocks(document):
        if language not in {"console", "sh", "bash", "shell"}:
            continue
        text = "\n".join(lines).replace("\\\n", " " * 2)
        for offset, line in enumerate(text.split("\n")):
            typed = line.removeprefix("$ ")
            if (language == "console" and typed == line) or not typed.startswith("hotdesk "):
                continue
            if not _STANDS_FOR.search(typed):
                yield begun + offset, shlex.split(typed, comments=True)[1:]

    prose = re.sub(
        r"^```.*?^```", lambda m: "\n" * m[0].count("\n"), document.read_text("utf-8"), flags=re.S | re.M
    )
    for found in re.finditer(r"`hotdesk ([^`]+)`", prose):
        if not _STANDS_FOR.search(found[1]):
            line = prose.count("\n", 0, found.start()) + 1
            yield line, shlex.split(found[1].replace("\n", " "), comments=True)


TYPED = [(doc, line, words) for doc in DOCUMENTS for line, words in commands(doc)]


@pytest.mark.parametrize(
    ("document", "line", "words"), TYPED, ids=[f"{doc.relative_to(ROOT)}:{line}" for doc, line, _ in TYPED]
)
def test_a_command_in_a_document_has_the_options_that_it_names(
    document: Path, line: int, words: list[str]
) -> None:
    command: click.Command = hotdesk
    context = click.Context(command, info_name="hotdesk")
    cut = next((n for n, word in enumerate(words) if word in {"|", "&&", ">", ">>", ";", "&", "2>"}), None)
    words = words[:cut]
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        name, *words = words
        found = command.get_command(context, name)
        assert found is not None, f"{document.name}:{line}: there is no command {name!r}"
        command, context = found, click.Context(found, info_name=name, parent=context)
    with contextlib.suppress(click.BadOptionUsage):  # prose may name an option without its value
        command.make_parser(context).parse_args(list(words))  # raises NoSuchOption


def test_the_page_of_benchmarks_is_that_of_what_was_measured() -> None:
    """`python -m benchmarks.report` mends it."""
    assert (ROOT / "docs" / "benchmarks.md").read_text() == report.text()


def test_links_lead_somewhere() -> None:
    astray = []
    for document in DOCUMENTS:
        text = re.sub(r"```.*?```", "", document.read_text("utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            path, _, place = target.partition("#")
            if "://" in target or target.startswith("mailto:"):
                continue
            there = (document.parent / path).resolve() if path else document
            named = not place or there.suffix != ".md" or place in _places(there)
            if not there.exists() or not named:
                astray.append(f"{document.name}: {target}")
    assert astray == []


def _places(document: Path) -> set[str]:
    """The anchors of a document's headings, as code hosts make them."""
    heads = re.findall(r"^#+ (.+)$", document.read_text("utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="a loopback address for each machine, and /proc")
def test_the_first_day_can_be_typed() -> None:
    pytest.importorskip("moto", reason="moto is not installed")
    replay = [sys.executable, "-m", "scripts.replay", "--check", "docs/first-day.md"]
    done = subprocess.run(replay, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
