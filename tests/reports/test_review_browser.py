"""The review page in headless Chromium, driven by keys and mouse as a reviewer does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import CHROMIUM, Browser
from proposing import draw, proposed, record

from siod.reports.review.page import write_review

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

NASTY = "</script><script>document.title = 'owned'</script>\"'"
# Where a point of the image is in the window.
SPOT = """(([x, y]) => {
  const frame = stage.getBoundingClientRect();
  return [frame.left + (x - seen().x) * scale(), frame.top + (y - seen().y) * scale()];
})"""
IMAGES = [record(7, "b.png", 400, 300), record(3, "a.png", 200, 100), record(9, "c.png", 400, 300)]
ANNOTATIONS = [{"id": 4, "image_id": 7, "category_id": 5, "bbox": [10, 10, 50, 50]}]
ROWS = [
    (7, 5, (200.0, 50.0, 80.0, 60.0), 0.75, 0.25),
    (7, 2, (20.0, 150.0, 80.0, 80.0), 0.5, 0.2),
    (3, 2, (40.0, 10.0, 30.0, 30.0), 0.9, None),
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("chromium")) as started:
        yield started


def page(folder: Path, *, first_id: int = 100, **changes: Any) -> Path:
    """The page of three images; proposals of another first id are others."""
    draw(folder, IMAGES)
    made = {"images": IMAGES, "rows": ROWS, "annotations": ANNOTATIONS, **changes}
    return write_review(proposed(folder, first_id=first_id, **made), folder / "review")


def text(browser: Browser, selector: str) -> str:
    found: str = browser.ask(f"document.querySelector({json.dumps(selector)}).textContent")
    return found


def spot(browser: Browser, x: float, y: float) -> tuple[float, float]:
    across, down = browser.ask(f"{SPOT}([{x}, {y}])")
    return across, down


def exported(browser: Browser) -> dict[str, Any]:
    found: dict[str, Any] = browser.ask("exported()")
    return found


def decided(browser: Browser) -> list[tuple[int, str]]:
    return [(one["id"], one["decision"]) for one in exported(browser)["decisions"]]


def loaded(browser: Browser, folder: Path, content: str) -> str:
    """What the page says of a decisions file."""
    (folder / "given.json").write_text(content)
    browser.ask("say('')")
    browser.give("#file", folder / "given.json")
    browser.wait("said.textContent !== ''")
    return text(browser, "#said")


def test_keys_decide_undo_and_go_on(browser: Browser, tmp_path: Path) -> None:
    browser.open(page(tmp_path, first_id=1000))
    browser.wait("!photo.classList.contains('waiting')")
    # Without a known rate a box counts half, which is more than 0.25 + 0.2.
    assert text(browser, "#name") == "a.png"
    assert text(browser, "#places") == "of 2"
    browser.press("n")
    assert text(browser, "#name") == "b.png"
    assert browser.ask("[...document.querySelectorAll('#list small')].map((one) => one.textContent)") == [
        "about 1 in 4 wrong",
        "about 1 in 5 wrong",
    ]
    browser.press("a", "x")
    assert decided(browser) == [(1000, "accept"), (1001, "reject")]
    assert text(browser, "#said") == "All decided. Enter: every object has its box. N: next image."
    browser.press("u")
    assert decided(browser) == [(1000, "accept")]
    browser.press("Control+z")
    assert decided(browser) == []
    browser.press("y", "Control+Shift+z")
    assert decided(browser) == [(1000, "accept"), (1001, "reject")]
    browser.press("p", "Shift+a", "Enter")
    assert decided(browser) == [(1000, "accept"), (1001, "reject"), (1002, "accept")]
    assert exported(browser)["complete"] == [3]
    # Enter went on; undoing comes back.
    assert text(browser, "#name") == "b.png"
    browser.press("u")
    assert (text(browser, "#name"), exported(browser)["complete"]) == ("a.png", [])
    browser.press("Delete")
    assert decided(browser) == [(1000, "accept"), (1001, "reject")]
    assert text(browser, "#progress span") == "2 of 3 decided"
    assert browser.console == []


def test_mouse_and_menu_end_up_in_the_saved_file(browser: Browser, tmp_path: Path) -> None:
    browser.open(page(tmp_path, first_id=2000))
    browser.press("n")
    browser.wait("!photo.classList.contains('waiting')")
    # A click accepts; the box, chosen now, is dragged by ten pixels, then its corner by ten more.
    browser.click(*spot(browser, 240, 80))
    assert decided(browser) == [(2000, "accept")]
    browser.drag(spot(browser, 240, 80), spot(browser, 250, 90))
    browser.drag(spot(browser, 290, 120), spot(browser, 300, 110))
    # The other is called by another name, the right button rejects the first and undo takes that back.
    browser.press("j", "c", "r", "o", "Enter")
    browser.click(*spot(browser, 250, 90), button="right")
    assert decided(browser) == [(2000, "reject"), (2001, "accept")]
    browser.press("u")
    # Two boxes are drawn, the second is deleted; the arrow widens the first.
    browser.press("d")
    browser.drag(spot(browser, 300, 200), spot(browser, 340, 230))
    browser.press("c", "e", "Enter", "Control+Shift+ArrowRight", "Shift+ArrowUp")
    browser.press("d")
    browser.drag(spot(browser, 200, 200), spot(browser, 500, 500))
    browser.press("Escape", "Delete", "e")
    browser.send("Runtime.evaluate", expression="reviewer.value = 'Ada'; reviewer.dispatchEvent(new Event('input'))")
    assert browser.ask("unsaved()")
    browser.press("Control+s")
    told = json.loads(browser.download("decisions.json").read_text(encoding="utf-8"))
    assert not browser.ask("unsaved()")
    times = [one.pop("at") for one in (*told["decisions"], *told["added"])] + [told.pop("saved")]
    assert all(one.endswith("Z") and len(one) == 20 for one in times)
    assert 0 <= told.pop("minutes") < 5
    sha256 = told.pop("proposals_sha256")
    assert sha256 == browser.ask("DATA.sha256")
    boxes = [told["decisions"][0].pop("bbox"), told["added"][0].pop("bbox")]
    assert told == {
        "version": 1,
        "proposals": str(tmp_path / "review" / "proposals.json"),
        "reviewer": "Ada",
        "decisions": [
            {"id": 2000, "decision": "accept"},
            {"id": 2001, "decision": "accept", "category_id": 5},
        ],
        "added": [{"image_id": 7, "category_id": 2}],
        "complete": [7],
    }
    # The mouse goes by whole pixels of the screen.
    assert boxes[0] == pytest.approx([210, 60, 90, 50], abs=1)
    assert boxes[1] == pytest.approx([300, 199, 41, 30], abs=1)
    assert browser.console == []


def test_decisions_outlive_the_page_and_the_browser(tmp_path: Path) -> None:
    written = page(tmp_path, first_id=3000)
    with Browser(tmp_path / "chromium") as first:
        first.open(written)
        first.press("a", "n", "c", "c", "e", "Enter", "j", "Shift+ArrowRight", "e")
        before = exported(first)
        # Two images and who reviews.
        assert first.ask("Object.keys(localStorage).length") == 3
        first.open(written)
        assert first.dialogs == ["beforeunload"]
        assert text(first, "#notice") == ""
        after = exported(first)
        assert decided(first) == [(3000, "accept"), (3001, "accept"), (3002, "accept")]
    assert {**after, "minutes": 0, "saved": ""} == {**before, "minutes": 0, "saved": ""}
    with Browser(tmp_path / "chromium") as again:
        again.open(written)
        assert {**exported(again), "minutes": 0, "saved": ""} == {**after, "minutes": 0, "saved": ""}
        # What is saved as a file is not asked about.
        again.press("Control+s")
        again.open(written)
        assert again.dialogs == []


def test_a_file_is_joined_with_what_is_decided_and_one_of_others_is_refused(browser: Browser, tmp_path: Path) -> None:
    browser.open(page(tmp_path, first_id=4000))
    browser.press("Shift+x")
    times = {"reviewer": "Bo", "minutes": 90, "saved": "2100-01-01T00:00:00Z"}
    file = {"version": 1, "proposals_sha256": browser.ask("DATA.sha256"), **times, "complete": [9]}
    late, early = "2100-01-01T00:00:00Z", "2000-01-01T00:00:00Z"
    file["decisions"] = [
        {"id": 4002, "decision": "accept", "at": early},
        {"id": 4000, "decision": "accept", "at": late, "category_id": 2, "bbox": [1, 2, 3, 4.5]},
    ]
    file["added"] = [{"image_id": 9, "category_id": 5, "bbox": [1, 2, 3, 4], "at": late}]
    assert loaded(browser, tmp_path, json.dumps(file)) == "Loaded 3 decisions from given.json. Undo takes them back."
    told = exported(browser)
    # Of two decisions about a box the later one holds.
    assert decided(browser) == [(4000, "accept"), (4002, "reject")]
    assert told["decisions"][0] == file["decisions"][1]
    assert (told["added"], told["complete"], told["reviewer"], told["minutes"]) == (file["added"], [9], "Bo", 90)
    # Once more changes nothing, so there is one step to undo.
    loaded(browser, tmp_path, json.dumps(file))
    assert exported(browser)["added"] == file["added"]
    browser.press("u")
    assert (decided(browser), exported(browser)["added"]) == ([(4002, "reject")], [])
    for change, sentence in [
        ({"proposals_sha256": "0" * 64}, "it is about other proposals; load it on the page it was saved from"),
        ({"version": 2}, "it is no decisions file of this page"),
        (
            {"decisions": [{"id": 1, "decision": "accept", "at": late}]},
            "it names proposal 1, which is not on this page",
        ),
    ]:
        refusal = loaded(browser, tmp_path, json.dumps({**file, **change}))
        assert refusal == f"given.json was not loaded: {sentence}."
        assert decided(browser) == [(4002, "reject")]
    assert loaded(browser, tmp_path, "no") == "given.json was not loaded: it is no JSON."
    assert browser.console == []


def test_images_come_by_doubt_by_category_or_as_in_the_file(browser: Browser, tmp_path: Path) -> None:
    spots = [(1.0, 1.0, 9.0, 9.0), (9.0, 1.0, 9.0, 9.0)]
    rows = [(7, 5, (200.0, 50.0, 80.0, 60.0), 0.75, 0.1), *ROWS[1:]]
    rows += [(9, 5, box, score, None) for box, score in zip(spots, (0.5, 0.4), strict=True)]
    browser.open(page(tmp_path, first_id=5000, rows=rows))
    images = "steps.map(({ image, category }) => [IMAGES.name[image], category])"
    listed = "steps.map((step) => decidable(step).map((place) => IDS[place]))"
    choose = "order.value = '{}'; order.dispatchEvent(new Event('change'));"
    # In an image the box that is likeliest to be wrong comes first as well, of equal ones the lowest score.
    assert browser.ask(images) == [["c.png", None], ["a.png", None], ["b.png", None]]
    assert browser.ask(listed) == [[5004, 5003], [5002], [5001, 5000]]
    assert browser.ask(choose.format("file") + images) == [["b.png", None], ["a.png", None], ["c.png", None]]
    assert browser.ask(listed) == [[5000, 5001], [5002], [5003, 5004]]
    assert browser.ask(choose.format("category") + images) == [["b.png", 0], ["a.png", 0], ["b.png", 1], ["c.png", 1]]
    assert browser.ask(listed) == [[5001], [5002], [5000], [5003, 5004]]
    # Of the two boxes of b.png only the one of the category is asked.
    browser.press("Shift+a")
    assert decided(browser) == [(5001, "accept")]
    browser.press("Shift+n", "Shift+a", "Shift+n", "Shift+a")
    assert decided(browser) == [(5000, "accept"), (5001, "accept"), (5002, "accept")]


def test_images_without_proposals_are_listed_when_asked_for(browser: Browser, tmp_path: Path) -> None:
    browser.open(page(tmp_path, first_id=5500))
    browser.ask("document.getElementById('every').click()")
    assert text(browser, "#places") == "of 3"
    browser.press("End", "e")
    assert (text(browser, "#name"), exported(browser)["complete"]) == ("c.png", [9])
    assert browser.ask("!document.getElementById('nothing').hidden")


def test_odd_names_are_shown_as_text_and_their_pictures_load(browser: Browser, tmp_path: Path) -> None:
    images = [record(image, name) for image, name in enumerate(["b c/d#e%20f'\"ü.png", f"{NASTY}.png"])]
    draw(tmp_path, images)
    rows = [(image, 2, (5.0, 5.0, 10.0, 10.0), 0.5, 0.1) for image in (0, 1)]
    name = [{"id": 2, "name": NASTY}, {"id": 3, "name": "cell"}]
    written = write_review(proposed(tmp_path, images, rows, categories=name), tmp_path / "review")
    browser.open(written)
    for image in images:
        browser.wait("!photo.classList.contains('waiting')")
        assert text(browser, "#name") == image["file_name"]
        assert browser.ask("document.getElementById('missing').hidden")
        browser.press("n")
    browser.press("c")
    assert text(browser, "#names option") == NASTY
    assert text(browser, "#boxes text") == f"{NASTY} 50"
    assert browser.ask("document.title") == "Review of mine.json"
    assert browser.console == []


def test_zooming_keeps_what_is_under_the_pointer_and_follows_the_chosen_box(browser: Browser, tmp_path: Path) -> None:
    browser.open(page(tmp_path, first_id=6000))
    browser.press("n")
    x, y = (round(number) for number in spot(browser, 100, 200))
    under = f"toImage({{ clientX: {x}, clientY: {y} }})"
    before = browser.ask(under)
    browser.send("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=-600)
    browser.wait("view.zoom > 2")
    assert browser.ask(under) == pytest.approx(before, abs=1e-6)
    browser.press("j")
    browser.wait("(({ x, y, width, height }) => x <= 20 && y <= 150 && x + width >= 100 && y + height >= 230)(seen())")
    browser.press("0")
    assert browser.ask("view.zoom") == 1


def test_a_held_arrow_is_one_step_to_undo_and_two_images_are_two(browser: Browser, tmp_path: Path) -> None:
    browser.open(page(tmp_path, first_id=6500))
    for image in (1, 0):
        browser.ask(f"addBox({image}, 0, [10, 10, 20, 20])")
    moves = "shown.chosen = 'a0'; nudge(1, 0, false); nudge(1, 0, false); 0"
    browser.ask(moves)
    browser.press("n")
    browser.ask(moves)
    boxes = "[1, 0].map((image) => recordOf(image).added[0].bbox[0])"
    assert browser.ask(boxes) == [12, 12]
    browser.press("u")
    assert browser.ask(boxes) == [12, 10]
    browser.press("u")
    assert browser.ask(boxes) == [10, 10]
    browser.press("y", "y")
    assert browser.ask(boxes) == [12, 12]


def test_the_page_says_when_the_browser_keeps_nothing_and_goes_on(browser: Browser, tmp_path: Path) -> None:
    browser.open(page(tmp_path, first_id=7000))
    assert browser.ask("document.getElementById('notice').hidden")
    full = "Storage.prototype.setItem = () => { throw new DOMException('', 'QuotaExceededError'); }; 0"
    browser.ask(f"window.kept = Storage.prototype.setItem; {full}")
    browser.press("a")
    assert text(browser, "#notice").startswith("This browser's storage is full")
    assert decided(browser) == [(7002, "accept")]
    browser.ask("Storage.prototype.setItem = window.kept; 0")
    browser.press("u")
    assert browser.ask("document.getElementById('notice').hidden")


def test_a_damaged_entry_of_the_browser_loses_no_other_one(browser: Browser, tmp_path: Path) -> None:
    written = page(tmp_path, first_id=7500)
    browser.open(written)
    browser.press("a", "n", "a", "n")
    browser.ask("localStorage.setItem(`${KEY} 1`, '[1, 0'); 0")
    browser.open(written)
    assert decided(browser) == [(7500, "accept")]
    assert text(browser, "#notice") == ("What this browser kept of a.png cannot be read. Load the file you saved last.")


def test_what_another_tab_decides_is_shown(browser: Browser, tmp_path: Path) -> None:
    browser.open(page(tmp_path, first_id=7800))
    browser.press("a")
    told = "new StorageEvent('storage', { key: `${KEY} 0`, newValue: localStorage.getItem(`${KEY} 1`) })"
    browser.ask(f"window.dispatchEvent({told}); 0")
    # The first place of image 1 is accepted; taken for image 0, it is that one's first.
    assert decided(browser) == [(7800, "accept"), (7802, "accept")]


def test_pauses_of_more_than_a_minute_do_not_count_and_rates_are_told_in_words(
    browser: Browser, tmp_path: Path
) -> None:
    browser.open(page(tmp_path, first_id=8000))
    counted = "[30, 59, 61, 600].map((pause) => { const was = about.seconds; active = Date.now() - 1000 * pause;"
    counted += " countTime(); return Math.round(about.seconds - was); })"
    assert browser.ask(counted) == [30, 59, 0, 0]
    rates = [None, 0, 0.0009, 0.001, 0.083, 0.4, 0.41, 0.96]
    assert browser.ask(f"{json.dumps(rates)}.map(wrongInWords)") == [
        "rate not known",
        "fewer than 1 in 1,000 wrong",
        "fewer than 1 in 1,000 wrong",
        "about 1 in 1,000 wrong",
        "about 1 in 12 wrong",
        "about 1 in 3 wrong",
        "about 4 in 10 wrong",
        "about 10 in 10 wrong",
    ]
    told = {
        "decided": 30,
        "accepted": 20,
        "added": 1,
        "looked": 5,
        "complete": 2,
        "all": 90,
        "images": 10,
        "minutes": 2,
    }
    assert browser.ask(f"progressInWords({json.dumps(told)})") == [
        "30 of 90 decided",
        "20 accepted",
        "1 added",
        "5 of 10 images looked at",
        "2.0 min",
        "2 complete",
        "15 boxes/min",
        "about 4 minutes left",
    ]


def test_five_thousand_images_open_and_the_last_is_decided(browser: Browser, tmp_path: Path) -> None:
    images = [record(image, "one.png") for image in range(5000)]
    draw(tmp_path, images[:1])
    rows = [(image, 2, (5.0, 5.0, 9.0, 9.0), 0.9, 0.1) for image in range(5000) for _ in range(10)]
    browser.open(write_review(proposed(tmp_path, images, rows), tmp_path / "review", link=True))
    browser.press("End", "Shift+a")
    assert browser.ask("document.getElementById('place').value") == "5000"
    assert decided(browser) == [(number, "accept") for number in range(50090, 50100)]
    browser.wait("!photo.classList.contains('waiting')")
    assert text(browser, "#progress span") == "10 of 50,000 decided"
    assert browser.console == []
