"""The page in a real browser, asking a real service: upload, drag, paste, keyboard, a phone, errors, axe."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import needs_browser
from PIL import Image, ImageEnhance
from served import Served

from comface.weights.fetched import LANDMARKS, available

pytestmark = [
    pytest.mark.skipif(LANDMARKS not in available(), reason="needs what `comface fetch` takes from packages"),
    *needs_browser("axe_playwright_python"),
]
ANSWERED = "#result:not([hidden]), #alert .alert"
DROP = """([place, files]) => {
  const data = new DataTransfer();
  for (const [name, text] of files) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    data.items.add(new File([bytes], name, { type: "image/jpeg" }));
  }
  const target = place ? document.querySelector(place) : document;
  if (place) for (const kind of ["dragover", "drop"]) {
    target.dispatchEvent(new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true }));
  } else document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true }));
}"""


LATE = """() => {
  const asked = window.fetch, late = new Promise((send) => (window.send = send));
  window.fetch = (path, options) => late.then(() => asked(path, { ...options, signal: undefined }));
}"""
"""Requests are sent when the test says so, and cannot be called back."""


ASKING = """() => {
  window.track = document.createElement("canvas").captureStream().getTracks()[0];
  const given = new Promise((allow) => (window.allow = () => allow(new MediaStream([window.track]))));
  navigator.mediaDevices.getUserMedia = () => given;
}"""
"""A camera whose permission prompt stays open until the test answers it."""


@pytest.fixture(scope="module")
def photos(pair: tuple[bytes, bytes], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    paths = [tmp_path_factory.mktemp("photos") / name for name in ("before.jpg", "after.jpg")]
    for path, data in zip(paths, pair, strict=True):
        path.write_bytes(data)
    return paths


@pytest.fixture(scope="module")
def dark(pair: tuple[bytes, bytes], photos: list[Path]) -> Path:
    """A photo that is too dark to be compared."""
    path = photos[0].with_name("dark.jpg")
    ImageEnhance.Brightness(Image.open(photos[0]).convert("RGB")).enhance(0.12).save(path, quality=95)
    return path


@pytest.fixture
def view(browser: Any, served: Served, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The page, which may ask nobody else; what its console complains of fails the test."""
    width, scheme = getattr(request, "param", (1280, "light"))
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.set_default_timeout(60_000)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda each: said.append(each.url) if not allowed(each.url, served) else None)
    page.goto(str(served.client.base_url))
    page.wait_for_selector("#model-line:has-text('sha256')")
    yield page
    page.close()
    assert [text for text in said if "status of 4" not in text] == []  # a refusal is in the console too


def allowed(url: str, served: Served) -> bool:
    return url.startswith((str(served.client.base_url), "blob:", "data:"))


def compare(view: Any) -> None:
    view.click("#compare")
    view.wait_for_selector(ANSWERED)


def violations(view: Any) -> list[tuple[str, list[Any]]]:
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(view).response["violations"]
    return [(each["id"], [node["target"] for node in each["nodes"]][:3]) for each in found]


@pytest.mark.parametrize("view", [(1280, "light"), (1280, "dark"), (390, "light")], indirect=True)
def test_axe_finds_no_violation_and_nothing_is_wider_than_the_screen(view: Any, photos: list[Path]) -> None:
    assert violations(view) == []
    view.set_input_files(".slot input >> nth=0", photos)
    compare(view)
    view.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    assert violations(view) == []
    width = view.viewport_size["width"]
    assert view.evaluate("document.documentElement.scrollWidth") <= width
    wide = view.evaluate(
        "(width) => [...document.querySelectorAll('main *')].filter((e) => !e.closest('.table') && "
        "e.getBoundingClientRect().right > width + 1).map((e) => e.outerHTML.slice(0, 90))",
        width,
    )
    assert wide == []


def test_uploaded_photos_give_verdicts_in_words_and_what_the_model_is(view: Any, photos: list[Path]) -> None:
    view.set_input_files(".slot input >> nth=0", photos)
    assert view.inner_text("#status") == "2 photos are here. Press Compare."
    compare(view)
    assert "Rehearsal model" in view.inner_text("#rehearsal")
    rows = view.locator(".change")
    assert rows.count() == 3
    for text in rows.all_inner_texts():
        assert any(word in text for word in ("Increase", "Decrease", "Cannot tell"))
        assert "90\u00a0% prediction interval" in text
    assert view.locator("#faces img").count() == 4
    assert view.evaluate("document.activeElement.id") == "result-title"
    assert "# Model card" in view.text_content("#card")


def test_photos_are_dropped_and_pasted_and_a_third_one_makes_a_time_line(view: Any, photos: list[Path]) -> None:
    files = [[path.name, base64.b64encode(path.read_bytes()).decode()] for path in photos]
    view.evaluate(DROP, ["#slots .slot:nth-child(2) .frame", files[:1]])
    view.wait_for_selector(".slot:nth-child(2).filled")
    view.evaluate(DROP, ["", files[1:]])
    view.wait_for_selector(".slot:nth-child(1).filled")
    view.evaluate(DROP, ["main", files[1:]])
    view.wait_for_selector(".slot:nth-child(3).filled")
    compare(view)
    assert view.locator(".change svg").count() == 3
    view.click(".change summary >> nth=0")
    assert view.locator(".change table tbody tr").count() == 2 * 3


def test_a_time_line_says_what_limits_each_photo_and_stays_if_the_last_one_is_refused(
    view: Any, photos: list[Path], dark: Path
) -> None:
    view.set_input_files(".slot input >> nth=0", [photos[0], dark, photos[1], dark])
    compare(view)
    assert view.inner_text("#result-title") == "Photo 4 cannot be compared with photo 1; earlier photos can"
    assert "is given for photos 1 and 4, because" in view.inner_text("#pair")
    said = view.inner_text("#remarks")
    assert "Photos 1 and 2: without interval and verdict: the face in the photo 2 is too dark." in said
    assert "Photos 1 and 3" not in said
    assert view.locator(".change svg").count() == 3
    assert "–" in view.locator(".change table tbody tr >> nth=2").text_content()


@pytest.mark.parametrize("button", ["#swap", ".slot:nth-child(2) [data-do=remove]"])
def test_an_answer_is_never_shown_under_other_photos(view: Any, photos: list[Path], button: str) -> None:
    view.evaluate(LATE)
    view.set_input_files(".slot input >> nth=0", photos)
    view.click("#compare")
    assert view.is_disabled("#compare")
    view.click(button)
    with view.expect_response("**/v1/compare") as answered:
        view.evaluate("window.send()")
    answered.value.finished()
    view.wait_for_timeout(100)
    assert view.is_hidden("#result")
    assert view.inner_text("#alert") == ""
    assert view.is_enabled("#compare") == (button == "#swap")
    assert view.get_attribute("#form", "aria-busy") is None


def test_photos_that_are_too_large_together_are_said_before_they_are_sent(view: Any, photos: list[Path]) -> None:
    view.evaluate("limits.request_bytes = 100_000 + 150_000")
    view.set_input_files(".slot input >> nth=0", [photos[0]] * 12)
    asked: list[str] = []
    view.on("request", lambda request: asked.append(request.method))
    compare(view)
    assert "Remove some, or save them smaller." in view.inner_text("#alert")
    assert "POST" not in asked
    assert view.is_enabled("#compare")


def test_the_keyboard_alone_is_enough(view: Any, photos: list[Path]) -> None:
    def to(label: str) -> None:
        for _ in range(40):
            view.keyboard.press("Tab")
            name = view.evaluate(
                "document.activeElement.getAttribute('aria-label') || document.activeElement.textContent"
            )
            if name == label:
                return
        pytest.fail(f"'{label}' cannot be reached by Tab")

    choosers: list[Any] = []
    view.on("filechooser", lambda chooser: choosers.append(chooser))  # listening once keeps Chromium's dialog away
    for number, (label, path) in enumerate(zip(("Choose: Before", "Choose: After"), photos, strict=True), 1):
        to(label)
        view.keyboard.press("Enter")
        for _ in range(100):
            if len(choosers) == number:
                break
            view.wait_for_timeout(100)
        choosers[number - 1].set_files(path)
        view.wait_for_function("(name) => document.body.innerText.includes(name)", arg=path.name)
        assert view.evaluate("document.activeElement.getAttribute('aria-label')") == label.replace("Choose", "Replace")
    to("Compare")
    view.keyboard.press("Enter")
    view.wait_for_selector(ANSWERED)
    assert view.is_visible("#result")
    to("Swap")
    view.keyboard.press("Space")
    assert view.inner_text(".name >> nth=0") == photos[1].name


def test_a_photo_that_cannot_be_used_is_marked_and_said_and_the_next_attempt_works(
    view: Any, photos: list[Path], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(photos[1].read_bytes()[:2000])
    view.set_input_files(".slot input >> nth=0", [photos[0], broken])
    compare(view)
    said = view.inner_text("#alert")
    assert said.startswith("After: ")
    assert said.endswith(".")
    assert view.is_visible(".slot:nth-child(2).invalid .fault")
    assert violations(view) == []
    view.set_input_files(".slot input >> nth=1", photos[1])
    assert view.inner_text("#alert") == ""
    compare(view)
    assert view.is_visible("#result")


def test_a_server_that_is_away_or_busy_is_said_in_a_sentence(view: Any, photos: list[Path]) -> None:
    view.set_input_files(".slot input >> nth=0", photos)
    body = '{"error": {"code": "busy", "message": "The service is busy; try again in a few seconds."}}'
    view.route(
        "**/v1/compare", lambda route: route.fulfill(status=429, headers={"retry-after": "1"}, body=body), times=1
    )
    view.click("#compare")
    view.wait_for_selector("#status:has-text('Attempt 2 of 4')")
    view.wait_for_selector(ANSWERED)
    assert view.is_visible("#result")
    view.unroute_all()
    view.route("**/v1/compare", lambda route: route.fulfill(status=422, body="<html>"))
    compare(view)
    assert view.inner_text("#alert") == "The server answered with 422."


def test_a_camera_that_is_allowed_after_cancel_is_switched_off(view: Any) -> None:
    view.evaluate(ASKING)
    view.click("[aria-label='Camera: Before']")
    view.click("#camera-close")
    view.evaluate("window.allow()")
    view.wait_for_function("() => window.track.readyState === 'ended'", timeout=5000)


def test_the_camera_says_why_it_cannot_be_used(view: Any) -> None:
    view.click("[aria-label='Camera: Before']")
    view.wait_for_selector("#camera-status:has-text('There is no camera')")
    assert violations(view) == []
    view.keyboard.press("Escape")
    assert view.evaluate("document.activeElement.getAttribute('aria-label')") == "Camera: Before"
