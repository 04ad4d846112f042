"""The page of a check: every finding with its images, nothing from elsewhere, and no name that becomes markup."""

import re
import shlex
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import plusx
from plusx.report.findings import MOST
from tests.data.spoiled import encoded, photo, spoiled_folder


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_page_shows_every_finding_and_nothing_from_elsewhere(tmp_path: Path) -> None:
    root = spoiled_folder(tmp_path / "photos")
    check = plusx.check_data(root)
    page = plusx.write_check(check, tmp_path / "new" / "folder")
    assert page == tmp_path / "new" / "folder" / "check.html"
    text = page.read_text(encoding="utf-8")
    tags = Tags(text).found
    assert {tag for tag, _ in tags}.isdisjoint({"script", "link", "iframe", "br/"})
    assert all(a["src"].startswith("data:image/") for tag, a in tags if tag == "img")  # type: ignore[union-attr]
    assert all(a["href"].startswith("#finding") for tag, a in tags if tag == "a")  # type: ignore[union-attr]
    assert "&lt;script&gt;alert(1)&lt;br&gt;.png" not in text  # it is a good image, so no finding names it
    for finding in check.findings:
        assert finding.title in unescape(text)
        for item in finding.items:
            assert all(f"<code>{file}</code>" in unescape(text) for file in item.files)
    images = sum(tag == "img" for tag, _ in tags)
    assert images == sum(
        file in check.places for finding in check.findings for item in finding.items for file in item.files
    )


def test_paths_to_copy_are_what_a_shell_needs_and_are_there(tmp_path: Path) -> None:
    root = spoiled_folder(tmp_path / "it's photos")
    hostile = root / "train" / "ant" / '"; rm -rf $HOME; <img src=x onerror=alert(1)>\n.png'
    hostile.write_bytes(encoded(photo(101), "PNG"))
    text = plusx.write_check(plusx.check_data(root), tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<img src=x" not in text and text.count("<pre") == text.count("</pre>")
    listings = [unescape(each) for each in re.findall(r'<pre class="paths"[^>]*>(.*?)</pre>', text, re.DOTALL)]
    paths = [Path(path) for listing in listings for path in shlex.split(listing)]
    assert hostile in paths and all(path.is_symlink() or path.is_file() for path in paths)
    leaks = [listing for listing in listings if "leak" in listing]
    assert leaks and all("/train/" not in listing for listing in leaks)


def test_long_findings_are_cut_and_all_their_paths_are_listed(tmp_path: Path) -> None:
    for number in range(MOST + 6):
        for name in ("ant", "bee"):
            (tmp_path / "photos" / name).mkdir(parents=True, exist_ok=True)
            (tmp_path / "photos" / name / f"{number}.png").write_bytes(encoded(photo(number, (40, 40)), "PNG"))
    text = plusx.write_check(plusx.check_data(tmp_path / "photos"), tmp_path / "a.html").read_text(encoding="utf-8")
    assert text.count("<img") == 2 * MOST and "6 more are not shown" in text
    assert text.count("/photos/") == 2 * (MOST + 6)
