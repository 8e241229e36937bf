"""The Chinese documents say what the English ones say, as far as a test can tell."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scripts.translated import Block, blocks, mended, pages, prose

ROOT = Path(__file__).parents[1]
PAGES = pages()
each_page = pytest.mark.parametrize(("english", "chinese"), PAGES, ids=[zh.name for _, zh in PAGES])
MEND = "after a change to an English page: python -m scripts.translated, and the same in the Chinese text"


def _both(english: Path, chinese: Path) -> tuple[str, str]:
    return english.read_text("utf-8"), chinese.read_text("utf-8")


@each_page
def test_a_chinese_page_has_the_code_of_the_english_one(english: Path, chinese: Path) -> None:
    theirs, ours = (list(map(Block.code, blocks(text))) for text in _both(english, chinese))
    assert ours == theirs, MEND


@each_page
def test_a_chinese_page_has_the_headings_tables_and_lists_of_the_english_one(
    english: Path, chinese: Path
) -> None:
    theirs, ours = ([line.lstrip() for line in prose(text).split("\n")] for text in _both(english, chinese))
    for form in (r"#+ ", r"[*] ", r"\d+\. ", r"\|(?=.*\|$)"):
        found = [[m[0] for line in lines if (m := re.match(form, line))] for lines in (ours, theirs)]
        assert found[0] == found[1], MEND


@each_page
def test_a_chinese_page_names_the_figures_commands_and_pictures_of_the_english_one(
    english: Path, chinese: Path
) -> None:
    assert _unsaid(*_both(english, chinese), _FACTS) == set(), MEND


#: The translation of a word is a matter of taste; that of a price, an option or a picture is not.
_FACTS = (r"\d[\d,.]*(?<![,.])", r"`[^`]+`", r"\w+\.(?:svg|png)(?=\))")


def _unsaid(english: str, chinese: str, forms: tuple[str, ...]) -> set[str]:
    """What of these forms the English prose says and the Chinese one does not."""
    theirs, ours = (
        {re.sub(r"\s+", " ", found) for form in forms for found in re.findall(form, prose(text))}
        for text in (english, chinese)
    )
    return theirs - ours


def test_the_chinese_readme_has_the_code_figures_and_commands_of_the_english_one() -> None:
    """It may say more: Alibaba Cloud's commands stand in it too. Its pictures show the Chinese page."""
    english, chinese = _both(ROOT / "README.md", ROOT / "README.zh-CN.md")
    assert _unsaid(english, chinese, _FACTS[:2]) == set()
    rest = iter(list(map(Block.code, blocks(chinese))))
    assert [code[:2] for code in map(Block.code, blocks(english)) if code not in rest] == []  # in this order


@each_page
def test_each_page_leads_to_the_other(english: Path, chinese: Path) -> None:
    theirs, ours = _both(english, chinese)
    assert f"[中文](zh/{chinese.name})" in theirs
    assert f"[English](../{english.name})" in ours


def test_a_changed_block_is_found_and_mended_and_a_translated_comment_is_none() -> None:
    english = (
        "# A\n```console\n$ hotdesk ls      # list\nblue  #2\n```\n1. x\n\n    ```sh\n    new\n    ```\n"
    )
    chinese = "# 甲\n```console\n$ hotdesk ls   # 列出\nblue  #2\n```\n1. 乙\n\n    ```sh\n    old\n    ```\n"
    text, replaced = mended(english, chinese)
    assert text == chinese.replace("old", "new")
    assert replaced == [9]
    with pytest.raises(ValueError, match="zip"):
        mended(english, "# 甲\n")
