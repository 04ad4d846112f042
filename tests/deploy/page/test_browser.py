"""The page as it is used, in headless Chromium: images tried, runs followed, nets looked at; by all who read it."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.deploy.page.conftest import write_metrics

pytestmark = pytest.mark.more
CHROMIUM = Path("/usr/bin/chromium")
VIEWS = {
    "try": "#/try",
    "run": "#/run/digits",
    "explorer": "#/explorer/plain20/resnet20",
    "dense": "#/explorer/densenet_40_12/dpn68",
}
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.is_file():
        pytest.skip(f"there is no {CHROMIUM}; Debian's package is chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Any, url: str) -> Iterator[Open]:
    """Opens the page at a route. In the end nothing has failed in it, and no other host was asked."""
    faults: list[str] = []
    contexts = []

    def visit(route: str, **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, "locale": "en-US", **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("pageerror", lambda fault: faults.append(str(fault)))
        # That an answer is 404 or 422 is told by the browser itself, and shown by the page.
        page.on("console", lambda m: m.type == "error" and "status of 4" not in m.text and faults.append(m.text))
        page.on("request", lambda r: r.url.startswith((url, "data:", "blob:")) or faults.append(f"asked: {r.url}"))
        page.goto(f"{url}/{route}")
        page.wait_for_selector("h1")
        return page

    yield visit
    for context in contexts:
        context.close()
    assert not faults


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def until(page: Any, condition: str) -> None:
    """Waits until it holds in the page, whose policy forbids what Playwright's own waiting evaluates."""
    for _ in range(300):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"never came true: {condition}")


def give(page: Any, *files: tuple[str, bytes]) -> None:
    page.set_input_files("#choose", [{"name": name, "mimeType": "image/png", "buffer": raw} for name, raw in files])


DIGIT = png(np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8))


# ---- Try -------------------------------------------------------------------------------------------------------------


def test_an_image_is_answered_with_bars_and_with_where_the_net_looks(visit: Open) -> None:
    page = visit(VIEWS["try"])
    give(page, ("three.png", DIGIT))
    page.wait_for_selector(".bars li")
    shares = [float(text.split()[0]) for text in page.locator(".bars .share").all_inner_texts()]
    assert len(shares) == 5 and shares == sorted(shares, reverse=True)
    widths = page.eval_on_selector_all(".bars .bar i", "bars => bars.map(bar => parseFloat(bar.style.width))")
    assert widths == pytest.approx(shares, abs=0.06), "a bar is as long as its number says"
    page.wait_for_selector(".seen canvas")
    page.locator(".slider input").fill("0.2")
    assert page.eval_on_selector(".seen canvas", "canvas => canvas.style.opacity") == "0.2"
    other = page.locator(".bars button").nth(1)
    other.click()
    until(page, "document.querySelectorAll('.bars button')[1].ariaPressed === 'true'")
    assert "three.png" in page.locator("#live").inner_text()


def test_two_models_are_compared_side_by_side(visit: Open) -> None:
    page = visit(VIEWS["try"])
    give(page, ("three.png", DIGIT))
    page.select_option("#beside", index=3)
    until(page, "document.querySelectorAll('.answers .bars li').length === 10")
    places = "[...document.querySelectorAll('.answers > section')].map(each => each.getBoundingClientRect().toJSON())"
    left, right = page.evaluate(places)
    assert left["top"] == right["top"] and left["right"] <= right["left"]


def test_several_images_are_answered_and_one_that_is_bad_says_why(visit: Open) -> None:
    page = visit(VIEWS["try"])
    give(page, ("good.png", DIGIT), ("bad.png", b"\x89PNG\r\n\x1a\nno more"), ("<b>odd</b>.png", DIGIT))
    until(page, "document.querySelectorAll('.result .bars li').length === 10")
    fault = page.locator(".result .fault")
    assert fault.count() == 1 and fault.get_attribute("role") == "alert"
    assert "bad.png" in page.locator(".result").filter(has=page.locator(".fault")).locator("h2").inner_text()
    assert len(fault.inner_text().splitlines()) == 2, "what happened, and why"
    assert page.locator("h2", has_text="<b>odd</b>.png").count() == 1, "names are text"


def test_a_sample_can_be_tried_and_removed_with_the_keyboard(visit: Open) -> None:
    page = visit(VIEWS["try"])
    page.locator(".samples button").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".bars li")
    page.locator(".close").focus()
    page.keyboard.press("Enter")
    assert page.locator(".result").count() == 0
    assert page.evaluate("document.activeElement.id") == "choose"


def test_an_image_can_be_pasted_and_dropped(visit: Open) -> None:
    page = visit(VIEWS["try"])
    script = """([target, kind, raw]) => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(raw)], `${kind}.png`, { type: "image/png" }));
        const Event = kind === "paste" ? ClipboardEvent : DragEvent;
        const carries = kind === "paste" ? "clipboardData" : "dataTransfer";
        const options = { bubbles: true, cancelable: true, [carries]: data };
        document.querySelector(target).dispatchEvent(new Event(kind, options));
    }"""
    page.evaluate(script, ["body", "paste", list(DIGIT)])
    page.evaluate(script, [".drop", "drop", list(DIGIT)])
    until(page, "document.querySelectorAll('.result .bars li').length === 10")
    assert page.locator(".result h2").all_inner_texts() == ["drop.png", "paste.png"]


def test_what_the_server_refuses_is_said_in_its_words(visit: Open) -> None:
    page = visit(VIEWS["try"])
    page.route("**/v1/predict", lambda route: route.fulfill(status=413, json={"error": "the body is too large"}))
    give(page, ("three.png", DIGIT))
    page.wait_for_selector(".fault")
    assert "the body is too large" in page.locator(".fault").inner_text()


# ---- Run -------------------------------------------------------------------------------------------------------------


def test_the_images_behind_a_number_are_shown(visit: Open) -> None:
    page = visit(VIEWS["run"])
    cell = page.locator(".confusion td:not(.right) button").first
    cell.wait_for()
    count = int(cell.inner_text())
    cell.click()
    until(page, f"document.querySelectorAll('.confused .sheet img[src]').length === {count}")
    assert cell.get_attribute("aria-pressed") == "true"
    until(page, "[...document.querySelectorAll('.sheet img[src]')].every(image => image.naturalWidth === 8)")


def test_curves_grow_while_the_run_trains(visit: Open, live_run: Path) -> None:
    write_metrics(live_run, 10, 20)
    page = visit("#/run/training")
    page.wait_for_selector(".live")
    assert "step 20" in page.locator(".status").inner_text()
    before = page.locator(".curve").last.get_attribute("d")
    write_metrics(live_run, 10, 20, 30, 40)
    until(page, "document.querySelector('.status').textContent.includes('step 40')")
    after = page.locator(".curve").last.get_attribute("d")
    assert before.count("L") == 1 and after.count("L") == 3


def test_a_run_without_predictions_says_what_to_type(visit: Open, photos_run: Path) -> None:
    page = visit(f"#/run/{photos_run.name}")
    page.wait_for_selector(".empty")
    assert "plusx evaluate" in page.locator(".empty").inner_text()


# ---- Explorer --------------------------------------------------------------------------------------------------------


def test_plain_residual_dense_and_dual_path_are_seen_as_what_they_are(visit: Open) -> None:
    page = visit(VIEWS["explorer"])
    page.wait_for_selector(".net:nth-child(2) .block")
    seen = {
        css: [page.locator(".net").nth(side).locator(css).count() for side in (0, 1)]
        for css in (".block", ".drawing .arc", ".drawing .joint", ".drawing .stripe")
    }
    assert seen == {".block": [12, 12], ".drawing .arc": [0, 9], ".drawing .joint": [0, 9], ".drawing .stripe": [0, 0]}
    page = visit(VIEWS["dense"])
    page.wait_for_selector(".net:nth-child(2) .block")
    arcs = [page.locator(".net").nth(side).locator(".drawing .arc").count() for side in (0, 1)]
    assert arcs == [0, 22], "both paths of a dual path net"
    assert all(page.locator(".net").nth(side).locator(".drawing .stripe").count() > 22 for side in (0, 1))


def test_nets_are_chosen_and_kept_in_the_address(visit: Open) -> None:
    page = visit(VIEWS["explorer"])
    page.wait_for_selector(".net:nth-child(2) .block")
    page.locator(".net select").first.select_option("highway_b")
    until(page, "document.querySelectorAll('.net')[0].querySelectorAll('.arc.gated').length === 14")
    assert page.evaluate("location.hash") == "#/explorer/highway_b/resnet20"


def test_long_nets_are_folded_and_unfolded(visit: Open) -> None:
    page = visit("#/explorer/resnet110/plain110")
    page.wait_for_selector(".fold")
    few = page.locator(".net").first.locator(".block").count()
    page.locator(".fold").first.click()
    until(page, f"document.querySelectorAll('.net:first-child .block').length > {few}")
    assert page.locator(".net").first.locator(".block").count() == 57


def test_blocks_are_read_out_with_the_arrow_keys_and_stand_in_a_table(visit: Open) -> None:
    page = visit(VIEWS["explorer"])
    page.wait_for_selector(".net:nth-child(2) .block")
    drawing = page.locator(".drawing > svg").nth(1)
    drawing.focus()
    for _ in range(2):
        page.keyboard.press("ArrowDown")
    chosen = page.locator(f"[id='{drawing.get_attribute('aria-activedescendant')}']")
    assert "stages.0.0; residual; identity" in chosen.get_attribute("aria-label")
    assert page.locator(".tip:not([hidden])").count() == 1
    page.locator(".net summary").nth(1).click()
    assert page.locator(".net").nth(1).locator("tbody tr").count() == 12


def test_what_training_made_of_a_block_stands_beside_it(visit: Open) -> None:
    page = visit("#/explorer/run%3Adigits/resnet20")
    page.wait_for_selector("input[value=removal]")
    page.locator("input[value=removal]").check(force=True)
    texts = page.locator(".net").first.locator(".value").all_text_contents()
    assert len(texts) == 9 and all("%" in text for text in texts)


# ---- for everybody ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_nobody_is_shut_out(visit: Open, view: str, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    page = visit(VIEWS[view], color_scheme=scheme, reduced_motion="reduce")
    if view == "try":
        page.select_option("#beside", index=1)
        give(page, ("three.png", DIGIT), ("bad.png", b"no image"))
        page.wait_for_selector(".bars li")
        page.wait_for_selector(".fault")
    if view == "run":
        page.locator(".confusion td:not(.right) button").first.click()
        page.wait_for_selector(".sheet img[src]")
    page.wait_for_load_state("networkidle")
    found = axe.Axe().run(page)
    assert not found.response["violations"], found.generate_report()


@pytest.mark.parametrize("width", [390, 320])
@pytest.mark.parametrize("view", VIEWS)
def test_a_phone_is_wide_enough(visit: Open, view: str, width: int) -> None:
    page = visit(VIEWS[view], viewport={"width": width, "height": 844})
    if view == "try":
        give(page, ("a-very-long-name-of-a-file-that-somebody-made-up-for-a-photo-of-a-digit.png", DIGIT))
        page.wait_for_selector(".bars li")
    page.wait_for_load_state("networkidle")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_language_is_the_readers_and_can_be_changed(visit: Open) -> None:
    page = visit(VIEWS["explorer"], locale="ko-KR")
    assert page.evaluate("document.documentElement.lang") == "ko"
    assert page.locator("h1").inner_text() == "블록으로 보는 신경망"
    page.locator("[data-language=en]").click()
    until(page, "document.querySelector('h1').textContent === 'Nets, block by block'")
    page.reload()
    page.wait_for_selector("h1")
    assert page.evaluate("document.documentElement.lang") == "en", "it is kept"


def test_the_focus_goes_through_the_header_to_the_view(visit: Open) -> None:
    page = visit(VIEWS["try"])
    seen = []
    for _ in range(8):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.textContent.trim() || document.activeElement.id"))
    assert seen[0] == "Skip to the content" and seen[2:5] == ["Try", "Run", "Explorer"] and "choose" in seen[7]
    outline = "getComputedStyle(document.querySelector('.button.first')).outlineStyle"
    assert page.evaluate(outline) == "solid", "the focus is seen"


def test_nothing_moves_for_those_who_ask_for_it(visit: Open) -> None:
    page = visit("#/run/training", reduced_motion="reduce")
    page.wait_for_selector(".status")
    assert page.evaluate("document.getAnimations().length") == 0
