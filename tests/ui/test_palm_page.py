"""What the PaLM tab can do beyond writing: texts side by side, scopes mixed, tokens, authors."""

import re
import threading

from playwright.sync_api import expect

from palm_demo.ui.palm.tokens import LEAST
from palm_demo.ui.palm.voices import MOST_DIFFERENT, PLAIN, shown_name
from tests.ui.hands import LEARNING_MS, open_settings, open_tab, pick, press, tokens_shown


def test_one_click_writes_side_by_side(visit, session):
    page = open_tab(visit("PaLM"), "Side by side")
    press(page, "Write side by side")
    expect(page.get_by_role("button", name="Stop all")).to_be_enabled()
    expect(page.get_by_role("button", name="Stop all")).to_be_disabled(timeout=LEARNING_MS)
    for place, name in enumerate([PLAIN, *map(shown_name, MOST_DIFFERENT)]):
        column = page.locator(f"#palm-columns-{place}")
        expect(column.get_by_label(name, exact=True)).to_have_value(
            re.compile(r"^It was a dark and stormy night, and\s*\S")
        )


def test_columns_are_what_each_scope_writes_alone(visit, session):
    page = open_tab(visit("PaLM"), "Side by side")
    page.get_by_label("One beginning for all").fill("The night was")
    open_settings(page)
    page.locator("#palm-columns-seed input").fill("3")
    press(page, "Write side by side")
    for place, scope in enumerate([None, *MOST_DIFFERENT]):
        text = session.generate("The night was", scope, max_new_tokens=64, seed=3)
        expect(page.locator(f"#palm-columns-{place} textarea")).to_have_value(f"The night was{text}")


def test_two_scopes_are_mixed_with_their_strengths(visit, session):
    page, (first, *_, last) = visit("PaLM"), session.scopes
    page.get_by_label("Begin a text").fill("The night was")
    pick(page, "Voice", shown_name(first))
    page.locator("#palm-strength input[type=number]").fill("0.5")
    page.get_by_role("button", name="Mix in a second voice").click()
    pick(page, "Second voice", shown_name(last))
    page.locator("#palm-second-strength input[type=number]").fill("1.25")
    open_settings(page)
    page.locator("#palm-length input[type=number]").fill("24")
    page.locator("#palm-seed input").fill("3")
    press(page, "Continue")
    text = session.generate("The night was", {first: 0.5, last: 1.25}, max_new_tokens=24, seed=3)
    expect(page.locator("#palm-text textarea")).to_have_value(f"The night was{text}")
    assert text != session.generate("The night was", first, max_new_tokens=24, seed=3)


def test_stop_stops_all_columns(visit, session, monkeypatch):
    real, ended = session.stream, threading.Semaphore(0)

    def held(*arguments, cancelled, **settings):
        for count, delta in enumerate(real(*arguments, cancelled=cancelled, **settings)):
            yield delta
            if count == 0:
                assert cancelled.wait(60), "nobody stopped the stream"
        ended.release()

    monkeypatch.setattr(session, "stream", held)
    page = open_tab(visit("PaLM"), "Side by side")
    press(page, "Write side by side")
    begun = re.compile(r"^It was a dark and stormy night, and[\s\S]")
    for place in range(4):
        expect(page.locator(f"#palm-columns-{place} textarea")).to_have_value(begun)
    press(page, "Stop all")
    for _ in range(4):
        assert ended.acquire(timeout=60), "a stream went on"
    expect(page.get_by_role("button", name="Write side by side")).to_be_enabled()


def test_tokens_show_their_alternatives_on_click(visit, session):
    page = open_tab(visit("PaLM"), "Token view")
    page.get_by_label("Text to look at").fill("It was a dark night.")
    press(page, "Look at each token")
    tokens = session.token_probabilities("It was a dark night.")
    shown = tokens_shown(page)
    expect(shown).to_have_count(len(tokens))
    shown.nth(2).click()
    expect(page.locator("#palm-tokens-said")).to_contain_text("Token 3, ␣a, was")
    likely = [text for text, chance in tokens[2].alternatives if chance >= LEAST]
    assert likely
    for text in likely:
        expect(page.locator("#palm-tokens-best")).to_contain_text(text.replace(" ", "␣"))
    expect(page.locator("#palm-tokens-best")).not_to_contain_text(re.compile(r"\b0%"))


def test_tokens_are_walked_through_with_the_keyboard(visit):
    page = open_tab(visit("PaLM"), "Token view")
    press(page, "Look at each token")
    shown = tokens_shown(page)
    shown.first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.locator("#palm-tokens-said")).to_contain_text("Token 2")


def test_a_written_text_is_looked_at_in_one_click(visit):
    page = visit("PaLM")
    page.get_by_label("Begin a text").fill("The night was")
    press(page, "Continue")
    written = page.get_by_label("PaLM writes")
    expect(written).to_have_value(re.compile("^The night was."))
    expect(page.get_by_role("button", name="Continue", exact=True)).to_be_enabled()
    text = written.input_value()
    press(page, "How sure was it of each word?")
    expect(page.get_by_label("Text to look at")).to_have_value(text)
    expect(page.locator("#palm-tokens-view")).to_contain_text("night")


def test_an_example_says_who_wrote_it_in_one_click(visit, session):
    page = open_tab(visit("PaLM"), "Who wrote this?")
    page.get_by_role("button", name="A play").click()
    expect(page.locator("#palm-authors-said")).to_contain_text("then by William Shakespeare")
    expect(page.locator("#palm-authors-bars canvas, #palm-authors-bars svg").first).to_be_visible()


def test_too_long_a_text_is_not_looked_at(visit):
    page = open_tab(visit("PaLM"), "Token view")
    page.get_by_label("Text to look at").fill("x" * 4001)
    press(page, "Look at each token")
    toast = page.get_by_test_id("toast-body").filter(has_text="at most 4,000 can be looked at")
    expect(toast.first).to_be_visible()
    page.get_by_label("Text to look at").fill("a cat")
    press(page, "Look at each token")
    expect(tokens_shown(page).first).to_be_visible()
