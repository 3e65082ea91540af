"""Flamingo's tab, used as a person would: teach it by examples, see where it looked, make a scene."""

import re
from random import Random

import pytest
from playwright.sync_api import Locator, Page, expect

from palm_demo.ui.flamingo import few_shot
from palm_demo.ui.flamingo.attention import words
from palm_demo.ui.flamingo.few_shot import Shot, draw_set
from palm_demo.ui.flamingo.presets import SETS, TILES
from tests.ui.hands import ask, flamingo_said, open_reads, press, start_over, unfold, visitor_said

NEW_WORD = "Example: a new word"


@pytest.fixture
def taught(tmp_path_factory, monkeypatch) -> tuple[Shot, ...]:
    """The examples that the page draws for the first set, and last its question."""
    one = draw_set(tmp_path_factory.mktemp("set"), SETS[NEW_WORD], rng=Random(5))
    again = lambda folder, draw, form: draw_set(folder, draw, form, Random(5))  # noqa: E731
    monkeypatch.setattr(few_shot, "draw_set", again)
    return one.shots


def open_way(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def shot(page: Page, number: int) -> Locator:
    return page.get_by_role("group", name=f"Example {number}", exact=True)


def text_of(page: Page, number: int) -> Locator:
    return shot(page, number).get_by_role("textbox")


def load_set(page: Page, taught) -> None:
    open_way(page, "Teach by example")
    press(page, NEW_WORD)
    for number, example in enumerate(taught[:-1], 1):
        expect(text_of(page, number)).to_have_value(example.text)
        expect(shot(page, number).get_by_label("Remove file")).to_have_count(1)


def expect_answer(page: Page, text: str) -> None:
    expect(flamingo_said(page).last).to_have_text(text)


# examples


def test_a_loaded_set_shows_its_marks_and_its_length(visit, session, taught):
    page = visit("Flamingo")
    load_set(page, taught)
    expect(shot(page, len(taught))).to_have_count(0)
    prompt = " ".join(f"<media> {example.text}" for example in taught)
    length = f"{session.prompt_length(prompt)} of {session.flamingo.context} tokens"
    expect(page.locator("#flamingo-prompt-length")).to_contain_text(length)
    unfold(page, "flamingo-whole")
    reads = page.locator("#flamingo-prompt")
    expect(reads.get_by_text("<media>", exact=True)).to_have_count(len(taught))
    expect(reads).to_contain_text(re.compile(f"picture {len(taught)}", re.IGNORECASE))


def test_examples_are_moved_added_and_removed_before_the_question_is_asked(visit, session, taught, media):
    page = visit("Flamingo")
    load_set(page, taught)
    first, second = taught[:2]
    page.get_by_role("button", name="Move Example 1 down").click()
    expect(text_of(page, 1)).to_have_value(second.text)
    expect(text_of(page, 2)).to_have_value(first.text)
    page.get_by_role("button", name="Move Example 2 up").click()
    expect(text_of(page, 1)).to_have_value(first.text)
    page.get_by_role("button", name="Remove Example 1").click()
    expect(text_of(page, 1)).to_have_value(second.text)
    expect(shot(page, len(taught) - 1)).to_have_count(0)

    press(page, "Add an example")
    text_of(page, 1).fill("typed and not drawn anew")
    press(page, f"Remove Example {len(taught) - 1}")
    expect(text_of(page, 1)).to_have_value("typed and not drawn anew")
    text_of(page, 1).fill(second.text)

    press(page, "Add an example")
    added = shot(page, len(taught) - 1)
    added.locator("input[type=file]").set_input_files(media / "red.png")
    expect(added.get_by_label("Remove file")).to_have_count(1)
    text_of(page, len(taught) - 1).fill("this is a blicket.")
    kept = [*taught[1:-1], ("this is a blicket.", (str(media / "red.png"),)), taught[-1]]
    prompt = " ".join(f"<media> {text}" for text, _ in kept)
    expect(page.locator("#flamingo-prompt-length")).to_contain_text("tokens")
    press(page, "Ask after the examples")
    expect_answer(page, session.answer(prompt, [path for _, (path,) in kept]))
    said = visitor_said(page)
    expect(said.locator("img")).to_have_count(len(kept))
    expect(said).to_contain_text(re.compile(r"picture 1.*this is a.*blicket.*this is a", re.DOTALL))


@pytest.mark.parametrize("width", [1280, 390])
def test_question_button_and_answer_after_examples_stand_together(visit, taught, width):
    page = visit("Flamingo")
    page.set_viewport_size({"width": width, "height": 800})
    load_set(page, taught)
    press(page, "Ask after the examples")
    said = page.locator("#flamingo-taught-answer")
    expect(said).to_contain_text(re.compile(r"Flamingo says: \w+.*(Right|Not this time)", re.DOTALL))
    question = page.get_by_role("group", name="The question", exact=True)
    for shown in (question, page.get_by_role("button", name="Ask after the examples"), said):
        expect(shown).to_be_in_viewport(ratio=1)
    page.get_by_label("Words of The question").fill("this is no")
    expect(said).to_have_text("")


def test_a_row_that_lacks_something_and_a_row_too_many_are_explained(visit, settings):
    page = visit("Flamingo")
    open_way(page, "Teach by example")
    press(page, "Ask after the examples")
    expect(page.get_by_test_id("toast-body")).to_contain_text("Example 1 is empty; add a picture and write")
    text_of(page, 1).fill("this is a dax.")
    missing = "Not ready yet. Example 1 has no picture; add the one"
    expect(page.locator("#flamingo-prompt-length")).to_contain_text(missing)
    expect(flamingo_said(page)).to_have_count(1)  # of the example that is answered already
    most = settings.limits.media - 1
    for number in range(2, most + 1):
        press(page, "Add an example")
        expect(shot(page, number)).to_be_visible()
    press(page, "Add an example")
    expect(page.get_by_text(f"There are {most} examples, and no more fit; remove one.")).to_be_visible()
    expect(page.get_by_role("button", name="Ask after the examples")).to_be_enabled()


# what it looked at


def sample(page: Page, kind: str) -> None:
    """Presses an example, and waits until it is answered."""
    page.locator("#flamingo-samples button").nth(list(TILES).index(kind)).click()
    expect(page.locator("#flamingo-truth")).to_contain_text("the page")
    expect(page.get_by_role("button", name="Ask", exact=True)).to_be_enabled()


def look(page: Page) -> None:
    """Asks for the maps of the last answer."""
    press(page, "Show where it looked")
    expect(page.locator("#flamingo-maps img").first).to_be_visible()


def test_maps_are_computed_when_they_are_asked_for(visit, session, monkeypatch):
    made, attention_maps = [], session.attention_maps
    monkeypatch.setattr(session, "attention_maps", lambda *told: made.append(told) or attention_maps(*told))
    page = visit("Flamingo")
    expect(page.locator("#flamingo-maps img")).to_be_visible()  # of the example that is answered already
    sample(page, "there")
    expect(page.locator("#flamingo-maps")).to_be_hidden()
    assert not made
    look(page)
    assert len(made) == 1
    sample(page, "where")
    expect(flamingo_said(page)).to_have_count(2)
    expect(page.locator("#flamingo-maps")).to_be_hidden()
    assert len(made) == 1


def test_a_click_on_a_word_shows_where_it_looked(visit, session):
    page = visit("Flamingo")
    sample(page, "where")
    look(page)
    maps = page.locator("#flamingo-maps img")
    expect(maps).to_have_count(1)
    expect(maps.first).to_be_visible()
    answer = flamingo_said(page).inner_text()
    spoken = [text for text, _ in words([f" {word}" for word in answer.split()])]
    choices = page.locator("#flamingo-words input[type=radio]")
    expect(choices).to_have_count(len(spoken))
    expect(page.locator("#flamingo-words input:checked")).to_have_count(1)
    before = page.locator("#flamingo-maps").inner_html()
    other = 1 if choices.first.is_checked() else 0
    page.locator("#flamingo-words").get_by_text(spoken[other], exact=True).click()
    expect(choices.nth(other)).to_be_checked()
    expect(page.locator("#flamingo-maps")).not_to_have_js_property("innerHTML", before)


def test_of_several_pictures_each_says_how_much_it_was_looked_at(visit):
    page = visit("Flamingo")
    sample(page, "new-word")
    look(page)
    expect(page.locator("#flamingo-maps img")).to_have_count(3)
    expect(page.locator("#flamingo-maps")).to_contain_text(re.compile(r"picture 1: \d+%.*picture 3: \d+%"))


def test_one_layer_alone_looks_elsewhere_and_its_gates_are_told(visit, session):
    page = visit("Flamingo")
    sample(page, "way")
    look(page)
    frames = page.locator("#flamingo-maps img")
    expect(frames).to_have_count(session.flamingo.model.encoder.max_frames)
    expect(page.locator("#flamingo-maps")).to_contain_text(
        f"frame {session.flamingo.model.encoder.max_frames}:"
    )
    together = frames.first.get_attribute("src")
    page.get_by_role("button", name="Layer by layer").click()
    rows = page.locator("#flamingo-gates tbody tr")
    expect(rows).to_have_count(len(session.flamingo.model.cross_attention))
    gate = next(iter(session.flamingo.model.cross_attention.values())).attention_gate.tanh().item()
    expect(rows.first).to_contain_text(f"{gate:.2f}")
    page.locator("#flamingo-layer input").click()
    page.get_by_role("option", name="after block 1", exact=True).click()
    expect(frames.first).not_to_have_attribute("src", together)


def test_words_are_chosen_with_the_keyboard_alone(visit):
    page = visit("Flamingo")
    sample(page, "caption")
    look(page)
    choices = page.locator("#flamingo-words input[type=radio]")
    expect(choices.nth(1)).to_be_visible()
    expect(page.locator("#flamingo-maps img")).to_be_visible()
    choices.first.focus()
    page.keyboard.press("Space")
    expect(choices.first).to_be_checked()
    before = page.locator("#flamingo-maps").inner_html()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect(choices.nth(1)).to_be_checked()
    expect(page.locator("#flamingo-maps")).not_to_have_js_property("innerHTML", before)


def test_nothing_is_shown_of_an_answer_without_pictures_or_after_starting_over(visit):
    page = visit("Flamingo")
    looking = page.locator("#flamingo-looking")
    sample(page, "where")
    expect(looking).to_be_visible()
    start_over(page)
    expect(looking).to_be_hidden()
    ask(page, "once upon a time")
    expect(flamingo_said(page)).to_have_count(1)
    expect(page.get_by_role("button", name="Ask", exact=True)).to_be_enabled()
    expect(looking).to_be_hidden()


# scenes


def choose(page: Page, what: str, value: str) -> None:
    """Options move under the pointer until the list shows only what fits."""
    field = page.locator(f"#scene-{what} input")
    field.click()
    field.fill("")
    field.press_sequentially(value)
    expect(page.get_by_role("option").filter(has_not_text=value)).to_have_count(0)
    page.get_by_role("option", name=value, exact=True).click()
    expect(field).to_have_value(value)


def test_a_made_scene_is_asked_about(visit):
    page = visit("Flamingo")
    open_way(page, "Make a scene")
    choose(page, "second-thing", "bone")
    choose(page, "place", "above")
    choose(page, "background", "blue")
    press(page, "Draw it")
    expect(page.locator("#scene-caption")).to_have_text("a cat above a bone on a blue background")
    expect(page.locator("#scene-made img")).to_be_visible()
    press(page, "Use it in the question")
    expect(page.locator("#flamingo-media").get_by_label("Remove file")).to_have_count(1)
    question = re.compile(r"^What is (above the bone|below the cat)\?$")
    expect(page.get_by_label("Your question")).to_have_value(question)
    press(page, "Ask")
    expect(visitor_said(page)).to_contain_text(re.compile("What is (above|below)"))
    look(page)
    expect(page.locator("#flamingo-maps img")).to_have_count(1)


def test_a_made_video_becomes_an_example(visit):
    page = visit("Flamingo")
    open_way(page, "Make a scene")
    choose(page, "thing", "dog")
    choose(page, "motion", "left")
    press(page, "Draw it")
    expect(page.locator("#scene-made video")).to_be_visible()
    press(page, "Add it to the examples")
    expect(text_of(page, 1)).to_have_value(re.compile("^caption: a dog that moves to the left on"))
    expect(shot(page, 1).get_by_label("Remove file")).to_have_count(1)


def test_a_scene_that_cannot_be_is_explained_and_a_surprise_always_can(visit):
    page = visit("Flamingo")
    open_way(page, "Make a scene")
    choose(page, "second-thing", "bone")
    choose(page, "motion", "up")
    press(page, "Draw it")
    expect(page.get_by_test_id("toast-body")).to_contain_text("choose one of them")
    press(page, "Surprise me")
    expect(page.locator("#scene-caption")).to_contain_text(re.compile(" on an? .* background"))


# visitors


def test_two_visitors_see_nothing_of_each_others_conversation(visit, taught):
    mine, other = visit("Flamingo"), visit("Flamingo")
    load_set(mine, taught)
    press(mine, "Ask after the examples")
    look(mine)
    open_way(other, "Teach by example")
    expect(text_of(other, 1)).to_have_value("")
    expect(shot(other, 2)).to_have_count(0)
    expect(other.locator("#flamingo-chat")).not_to_contain_text("this is a")

    open_way(other, "Ask")
    start_over(other)
    open_reads(other)
    other.get_by_label("Let Flamingo read the earlier questions too").check()
    ask(other, "once upon")
    expect(flamingo_said(other)).to_have_count(1)
    expect(other.locator("#flamingo-reads")).to_have_text(re.compile(r"once upon\s*$"))
    expect(flamingo_said(mine)).to_have_count(1)
