"""Scopes that visitors teach on the page, used as a person would, by one visitor and by two."""

import re
import threading
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from palm_demo.inference.lora_finetuning import Progress
from palm_demo.internals.gradio_files import upload_folder
from palm_demo.ui.palm.user_adapters import UserAdapters
from palm_demo.ui.palm.voices import PLAIN
from tests.ui.hands import LEARNING_MS, open_tab, pick, press, tokens_shown

LESSON = "The little cat sat on the mat, and the old dog lay by the door. " * 150


def options_of(page: Page, label: str) -> list[str]:
    page.get_by_label(label, exact=True).click()
    expect(page.get_by_role("option").first).to_be_visible()
    found = page.get_by_role("option").all_inner_texts()
    page.keyboard.press("Escape")
    return [option.replace("✓", "").strip() for option in found]


@pytest.fixture
def quick(session, monkeypatch):
    """Teachings of four steps, judged at each, as the library does them."""
    real = session.finetune

    def finetune(text, *, cancelled, **settings):
        return real(text, cancelled=cancelled, **settings | {"steps": 4, "eval_steps": 1, "seconds": 600.0})

    monkeypatch.setattr(session, "finetune", finetune)


def fill(page: Page, label: str, text: str) -> None:
    """Writes into a box and lets the page take that in: it draws its boxes anew a frame later, and what was
    written into another one meanwhile would be lost."""
    box = page.get_by_label(label)
    box.fill(text)
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    expect(box).to_have_value(text)


def finetune(page: Page, name: str) -> None:
    open_tab(page, "Teach a voice")
    fill(page, "Text to learn from", LESSON)
    fill(page, "Name of the voice", name)
    press(page, "Teach")
    expect(page.locator("#palm-teaching-said")).to_contain_text(f"{name} is ready", timeout=LEARNING_MS)
    expect(page.get_by_role("button", name="Teach", exact=True)).to_be_enabled()


def test_a_taught_scope_writes_at_once_in_every_part(visit, session, quick, media):
    page = visit("PaLM")
    finetune(page, "letters")
    expect(page.locator("#palm-teaching-curve canvas, #palm-teaching-curve svg").first).to_be_visible()
    press(page, "Write with it")
    expect(page.get_by_label("Voice", exact=True)).to_have_value("letters (yours)")
    page.get_by_label("Begin a text").fill("The little cat")
    press(page, "Continue")
    expect(page.get_by_label("PaLM writes")).to_have_value(re.compile("^The little cat."))
    open_tab(page, "Side by side")
    assert options_of(page, "Beside plain PaLM")[-1] == "letters (yours)"
    open_tab(page, "Token view")
    pick(page, "Read by", "letters (yours)")
    press(page, "Look at each token")
    expect(tokens_shown(page).first).to_be_visible()
    assert "letters" not in session.scopes


def test_a_scope_is_downloaded_removed_and_uploaded_again(visit, session, quick, tmp_path):
    page = visit("PaLM")
    finetune(page, "letters")
    with page.expect_download() as download:
        page.locator("#palm-teaching-download").click()
    assert download.value.suggested_filename == "letters.safetensors"
    path = tmp_path / "kept.safetensors"
    download.value.save_as(path)
    assert session.load_adapter(path).rank == 16
    press(page, "Remove")
    expect(page.get_by_label("Yours")).to_have_value("")
    upload_scope(page, path)
    expect(page.get_by_label("Yours")).to_have_value("kept")
    press(page, "Write with it")
    expect(page.get_by_label("Voice", exact=True)).to_have_value("kept (yours)")


def upload_scope(page: Page, path: Path) -> None:
    with page.expect_file_chooser() as chooser:
        page.locator("#palm-teaching-upload").click()
    chooser.value.set_files(path)


def test_a_removed_scope_is_no_longer_chosen_anywhere(visit, quick):
    page = visit("PaLM")
    finetune(page, "letters")
    press(page, "Write with it")
    expect(page.get_by_role("tab", name="Write", exact=True)).to_have_attribute("aria-selected", "true")
    open_tab(page, "Teach a voice")
    press(page, "Remove")
    open_tab(page, "Write")
    expect(page.get_by_label("Voice", exact=True)).to_have_value(PLAIN)
    assert "letters (yours)" not in options_of(page, "Voice")


def test_two_visitors_see_nothing_of_each_others_scopes(visit, quick):
    me, you = visit("PaLM"), visit("PaLM")
    finetune(me, "letters")
    finetune(you, "verses")
    for page, own, foreign in ((me, "letters", "verses"), (you, "verses", "letters")):
        open_tab(page, "Write")
        options = options_of(page, "Voice")
        assert f"{own} (yours)" in options and f"{foreign} (yours)" not in options
        open_tab(page, "Who wrote this?")
        page.get_by_role("button", name="A play").click()
        expect(page.locator("#palm-authors-said")).to_contain_text("then by")
        expect(page.locator("#palm-authors-bars")).not_to_contain_text(foreign)


def test_a_scope_goes_with_its_visitor(visit, quick, session):
    page, gone, left = visit("PaLM"), threading.Event(), UserAdapters._delete

    def noted(own, scope):
        left(own, scope)
        gone.set()

    finetune(page, "letters")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(UserAdapters, "_delete", noted)
        page.close()
        assert gone.wait(60), "the scope was kept"


@pytest.fixture
def unhurried(session, monkeypatch):
    """A teaching that goes on until it is stopped, better with each step."""
    ended = threading.Event()

    def finetune(text, *, cancelled, **settings):
        adapters = [session.palm.model.new_adapter(2) for _ in range(3)]
        yield Progress(0, 0.0, None, 2.0, 2.0, 2.0, adapters[0])
        yield Progress(1, 1.0, 4.0, 1.9, 2.0, 1.9, adapters[1])
        assert cancelled.wait(60), "nobody stopped the teaching"
        ended.set()
        yield Progress(2, 2.0, 4.0, 1.8, 2.0, 1.8, adapters[2])

    monkeypatch.setattr(session, "finetune", finetune)
    return ended


def test_teaching_is_stopped_and_the_best_kept(visit, unhurried):
    page = open_tab(visit("PaLM"), "Teach a voice")
    press(page, "Take 300 proverbs")
    expect(page.get_by_label("Name of the voice")).to_have_value("proverbs")
    press(page, "Teach")
    expect(page.locator("#palm-teaching-said")).to_contain_text("Step 1")
    expect(page.get_by_label("Yours")).to_have_value("proverbs")
    press(page, "Stop and keep the best")
    expect(page.locator("#palm-teaching-said")).to_contain_text("became 1.800")
    expect(page.get_by_label("Yours")).to_have_value("proverbs")


def test_the_page_is_used_while_it_teaches(visit, unhurried):
    page = open_tab(visit("PaLM"), "Teach a voice")
    press(page, "Take 300 proverbs")
    press(page, "Teach")
    expect(page.locator("#palm-teaching-said")).to_contain_text("Step 1")
    open_tab(page, "Write")
    page.locator("#palm-samples button").first.click()
    expect(page.get_by_label("PaLM writes")).to_have_value(
        re.compile(r"^It was a dark and stormy night, and\s*\S")
    )
    assert not unhurried.is_set()


def test_teaching_ends_when_its_visitor_leaves(visit, unhurried):
    page = open_tab(visit("PaLM"), "Teach a voice")
    press(page, "Take 300 proverbs")
    press(page, "Teach")
    expect(page.locator("#palm-teaching-said")).to_contain_text("Step 1")
    page.close()
    assert unhurried.wait(60), "the teaching went on"


def test_a_text_file_is_taken(visit, tmp_path):
    """Nothing is left in the folder beside it: gradio's buttons would leave an empty file each time."""
    (tmp_path / "diary.txt").write_text("Monday. Rain.", encoding="utf-8")
    before = {path for path in upload_folder().rglob("*") if path.is_file()}
    page = open_tab(visit("PaLM"), "Teach a voice")
    with page.expect_file_chooser() as chooser:
        page.locator("#palm-teaching-file").click()
    chooser.value.set_files(tmp_path / "diary.txt")
    expect(page.get_by_label("Text to learn from")).to_have_value("Monday. Rain.")
    expect(page.get_by_label("Name of the voice")).to_have_value("diary")
    (came,) = {path for path in upload_folder().rglob("*") if path.is_file()} - before
    assert came.name == "diary.txt"


def expect_warning(page: Page, text: str) -> None:
    expect(page.get_by_test_id("toast-body").filter(has_text=text).first).to_be_visible()


def test_bad_lessons_are_explained_and_nothing_is_lost(visit, quick):
    page = open_tab(visit("PaLM"), "Teach a voice")
    press(page, "Teach")
    expect_warning(page, "1,000 are needed")
    fill(page, "Text to learn from", "too short")
    fill(page, "Name of the voice", "my letters")
    press(page, "Teach")
    expect_warning(page, "use letters, digits")
    expect(page.get_by_label("Text to learn from")).to_have_value("too short")
    press(page, "Remove")
    expect_warning(page, "no voice of yours yet")
    finetune(page, "letters")
    press(page, "Teach")
    expect_warning(page, "already have a voice 'letters'")


def test_a_bad_scope_file_is_explained(visit, session, tmp_path, new_palm):
    page = open_tab(visit("PaLM"), "Teach a voice")
    (tmp_path / "words.safetensors").write_text("words, not weights")
    upload_scope(page, tmp_path / "words.safetensors")
    expect_warning(page, "words.safetensors is not a readable safetensors file")
    other = session.palm.model.new_adapter(2)
    for name in ("base", "rank"):
        session.save_adapter(other, tmp_path / f"{name}.safetensors")
    whole = (tmp_path / "base.safetensors").read_bytes()
    base = re.search(rb'base\\": \\"([0-9a-f]+)', whole)[1]
    (tmp_path / "base.safetensors").write_bytes(whole.replace(base, b"0" * len(base)))
    upload_scope(page, tmp_path / "base.safetensors")
    expect_warning(page, "trained on other base weights")
    expect(page.get_by_label("Yours")).to_have_value("")
