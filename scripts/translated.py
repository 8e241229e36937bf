"""Give the Chinese documents the code blocks of the English ones: python -m scripts.translated

A page of docs/zh has the blocks of its English page, in the same order; only comments may be translated.
After a change to an English page, this copies the blocks that differ and names them, so that a translated
comment can be put back. It exits with 1 where a page has more or fewer blocks than the other: those need a
person.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).parents[1] / "docs"
_FENCE = re.compile(r"^( *)```(\S*)$")
_COMMENT = re.compile(r"(^|\s+)#\s.*$")


class Block(NamedTuple):
    """A fenced block: its language, its lines without the fence's indentation, and where they stand."""

    language: str
    lines: tuple[str, ...]
    begin: int
    end: int
    indent: str

    def code(self) -> tuple[str, ...]:
        """The language and the lines, without comments: what a translation must leave as it is."""
        return (self.language, *(_COMMENT.sub("", line).rstrip() for line in self.lines))


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a document, from the first."""
    lines = text.split("\n")
    opened: tuple[str, str, int] | None = None
    for number, line in enumerate(lines):
        if not (fence := _FENCE.match(line)):
            continue
        if opened is None:
            opened = fence[1], fence[2], number + 1
        else:
            indent, language, begin = opened
            inside = tuple(line.removeprefix(indent) for line in lines[begin:number])
            yield Block(language, inside, begin, number, indent)
            opened = None


def prose(text: str) -> str:
    """A document without its fenced blocks."""
    lines = text.split("\n")
    for block in reversed(list(blocks(text))):
        del lines[block.begin - 1 : block.end + 1]
    return "\n".join(lines)


def pages() -> list[tuple[Path, Path]]:
    """Each English page that has a Chinese one, with it."""
    return [(DOCS / chinese.name, chinese) for chinese in sorted((DOCS / "zh").glob("*.md"))]


def mended(english: str, chinese: str) -> tuple[str, list[int]]:
    """The Chinese page with the English page's code, and the lines on which blocks were replaced.

    Raises ValueError if they have different numbers of blocks.
    """
    lines, replaced = chinese.split("\n"), list[int]()
    for theirs, ours in reversed(list(zip(blocks(english), blocks(chinese), strict=True))):
        if theirs.code() != ours.code():
            lines[ours.begin - 1] = f"{ours.indent}```{theirs.language}"
            lines[ours.begin : ours.end] = [f"{ours.indent}{line}".rstrip() for line in theirs.lines]
            replaced.insert(0, ours.begin + 1)
    return "\n".join(lines), replaced


def main() -> None:
    astray = False
    for english, chinese in pages():
        try:
            text, replaced = mended(english.read_text("utf-8"), chinese.read_text("utf-8"))
        except ValueError:
            sys.stderr.write(f"{chinese}: not as many code blocks as {english}: mend it by hand\n")
            astray = True
            continue
        if replaced:
            chinese.write_text(text, "utf-8")
        for line in replaced:
            sys.stdout.write(f"{chinese}:{line}: the block is the English one now\n")
    sys.exit(int(astray))


if __name__ == "__main__":
    main()
