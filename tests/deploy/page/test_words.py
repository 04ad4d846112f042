"""The page's files: both languages say the same things, colours are the palette's, nothing is asked of another host."""

import re
from pathlib import Path

import pytest

import plusx.deploy
from plusx.report.palette import TOKENS

PAGE = Path(plusx.deploy.__file__).parent / "page"
SCRIPTS = {file.name: file.read_text(encoding="utf-8") for file in PAGE.glob("*.js")}
MARKUP = (PAGE / "index.html").read_text(encoding="utf-8")
STYLE = (PAGE / "page.css").read_text(encoding="utf-8")
PREFIXES = {"fact", "kind", "shortcut", "layer"}
"""Of keys that follow from what the server names."""


def sentences(language: str) -> dict[str, str]:
    return dict(re.findall(r'\b(\w+): "((?:[^"\\]|\\.)*)"', SCRIPTS[f"{language}.js"]))


def used() -> set[str]:
    keys = set(re.findall(r'data-t(?:-label)?="(\w+)"', MARKUP))
    for name, code in SCRIPTS.items():
        if name in ("en.js", "ko.js"):
            continue
        keys |= set(re.findall(r'\bt\("(\w+)"', code)) | set(re.findall(r'key: "(\w+)"', code))
        for first, second in re.findall(r'\bt\([^"()]*\? "(\w+)" : "(\w+)"', code):  # t(wrong ? "this" : "that")
            keys |= {first, second}
    return keys


def test_both_languages_have_the_same_sentences_with_the_same_gaps() -> None:
    english, korean = sentences("en"), sentences("ko")
    assert english.keys() == korean.keys()
    for key in english:
        assert sorted(re.findall(r"\{\w+\}", english[key])) == sorted(re.findall(r"\{\w+\}", korean[key])), key


def test_korean_is_korean() -> None:
    for key, sentence in sentences("ko").items():
        assert re.search(r"[가-힣]", sentence), key


def test_every_sentence_is_used_and_every_sentence_that_is_used_exists() -> None:
    english = sentences("en")
    dynamic = {f"{split}_{what}" for split in ("train", "val", "test") for what in ("error", "images")}
    named = {"try", "run", "explorer", "training", "quiet", "blocks"}  # titles of views, and chosen in place
    free = {key for key in english if key.partition("_")[0] in PREFIXES and key not in PREFIXES}
    assert not used() - english.keys(), "a sentence is missing"
    assert not english.keys() - used() - dynamic - named - free, "a sentence is of no use"


def test_what_is_said_of_blocks_has_a_word_for_each_kind() -> None:
    from typing import get_args

    from plusx.analysis.architecture import Kind, Shortcut

    for prefix, kinds in (("kind", get_args(Kind)), ("shortcut", get_args(Shortcut))):
        for kind in kinds:
            assert f"{prefix}_{kind.replace('-', '_')}" in sentences("en")


@pytest.mark.parametrize(("scheme", "block"), [(0, ":root {"), (1, "(prefers-color-scheme: dark)")])
def test_the_colours_are_those_of_the_reports(scheme: int, block: str) -> None:
    stated = dict(re.findall(r"--(\w+): (#\w{6});", STYLE[STYLE.index(block) :].partition("}")[0]))
    assert {name: stated[name] for name in TOKENS} == {name: pair[scheme] for name, pair in TOKENS.items()}


def test_nothing_is_asked_of_another_host_and_nothing_is_inline() -> None:
    for name, text in {**SCRIPTS, "index.html": MARKUP, "page.css": STYLE}.items():
        addresses = set(re.findall(r"https?://[^\s\"'<)]+", text)) - {"http://www.w3.org/2000/svg"}
        assert not addresses, name
    assert not re.search(r"<script(?![^>]*src=)|<style| style=| on\w+=", MARKUP)
    assert "innerHTML" not in "".join(SCRIPTS.values()), "names of files and classes are text, never markup"
    for file in re.findall(r'"/page/([\w.-]+)"', MARKUP + "".join(SCRIPTS.values())):
        assert (PAGE / file).is_file(), file


def test_the_page_is_small() -> None:
    assert sum(file.stat().st_size for file in PAGE.iterdir()) < 150_000
