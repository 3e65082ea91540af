"""Settings as a link: written in the browser from what is set, read here when somebody opens it.

Gradio's own DeepLinkButton keeps all that a page holds on the server, prompts and pictures too, for whoever
has the link. Here a link is all there is, and in it are settings alone.
"""

import json
import math
import re
from collections.abc import Mapping
from functools import singledispatch

import gradio as gr
from gradio.components import Component

from palm_demo.internals.gradio_files import tabs_around
from palm_demo.ui.messages import on_page, warn

LABEL = "Copy a link to these settings"
COPIED = "Copied, without your words and files"
COPIED_MS = 4000
TAB = "tab"
"""What a link calls the innermost tab to open."""

WHOLE = re.compile("-?[0-9]{1,15}")
"""A browser's numbers keep no more digits."""

COPY = """async (...values) => {
    const link = new URL(location.origin + location.pathname), known = KNOWN;
    link.searchParams.set("tab", PLACE);
    Object.keys(known).forEach((name, place) => {
        const choices = known[name], value = values[place];
        const kept = [value ?? []].flat().filter(one => !choices || choices.includes(one));
        if (kept.length || Array.isArray(value)) link.searchParams.set(name, kept.join(","));
    });
    try {
        await navigator.clipboard.writeText(link.href);
    } catch {  // without https, or where the visitor does not allow it
        prompt("The link to these settings:", link.href);
        return LABEL;
    }
    return COPIED;
}"""
LATER = "() => new Promise(done => setTimeout(done, MS, LABEL))"


class SettingsLinks:
    """The tabs of a page that a link can open, each with its settings."""

    def __init__(self):
        self._tabs_of: dict[str, list[gr.Tab]] = {}
        self._settings: dict[str, Mapping[str, Component]] = {}

    def button(self, settings: Mapping[str, Component]) -> None:
        """Puts a button into the current tab that copies a link to it. settings: by their names in the
        link; none of them may be free text, and of a Dropdown only what it offers at first is told."""
        button = gr.Button(LABEL, size="sm", scale=0, min_width=210, elem_classes="link-button")
        around = tabs_around(button)
        place = around[0].id
        self._tabs_of[place], self._settings[place] = around, settings
        known = {name: _told(control) for name, control in settings.items()}
        js = _filled(COPY, PLACE=place, KNOWN=known, LABEL=LABEL, COPIED=COPIED)
        own = {"api_visibility": "private", "show_progress": "hidden"}
        button.click(None, list(settings.values()), button, js=js, **own)
        button.click(None, None, button, js=_filled(LATER, MS=COPIED_MS, LABEL=LABEL), **own)

    def open_with(self, page: gr.Blocks) -> None:
        """Has the page look at its own address when it is loaded. Call it when all buttons are there."""
        tabs = {tab.parent: gr.skip() for around in self._tabs_of.values() for tab in around}
        controls = [control for settings in self._settings.values() for control in settings.values()]

        @on_page
        def open_link(request: gr.Request):
            asked = dict(request.query_params)
            place = asked.get(TAB)
            if place not in self._tabs_of:
                if place is not None:
                    warn("The link names a tab that is not on this page; here is the first one.")
                return [gr.skip()] * (len(tabs) + len(controls))
            selected = {tab.parent: gr.update(selected=tab.id) for tab in self._tabs_of[place]}
            values, notes = {}, []
            for name, control in self._settings[place].items():
                if name in asked:
                    values[control], note = read(control, asked[name])
                    notes += [note] if note else []
            if notes:
                warn(f"Not all of the link could be set. {' '.join(notes)}")
            return [*(tabs | selected).values(), *(values.get(control, gr.skip()) for control in controls)]

        page.load(
            open_link,
            None,
            [*tabs, *controls],
            show_progress="hidden",
            concurrency_limit=None,
            api_visibility="private",
        )


@singledispatch
def read(control: Component, text: str) -> tuple:
    """What a link sets a control to, gr.skip() where it cannot be set, and what to say of that or None.
    Nothing of the text is said: who made the link may want to have it read."""
    raise TypeError(f"no link can set a {type(control).__name__}")


@read.register
def _(control: gr.Slider, text: str) -> tuple:
    try:
        wanted = float(text)
    except ValueError:
        wanted = math.nan
    low, high, step = control.minimum, control.maximum, control.step
    if not math.isfinite(wanted):
        return gr.skip(), f"{control.label}: a number from {low} to {high}."
    value = low + step * round((min(max(wanted, low), high) - low) / step)
    value = round(min(value, high), 6)
    note = None if low <= wanted <= high else f"{control.label}: from {low} to {high}."
    return value, note


@read.register
def _(control: gr.Number, text: str) -> tuple:
    if WHOLE.fullmatch(text):
        return int(text), None
    return gr.skip(), f"{control.label}: a whole number of at most 15 digits."


@read.register
def _(control: gr.Checkbox, text: str) -> tuple:
    if text not in ("true", "false"):
        return gr.skip(), f"{control.label}: true or false."
    return text == "true", None


@read.register
def _(control: gr.Dropdown, text: str) -> tuple:
    offered = {value for _, value in control.choices}
    if not control.multiselect:
        return (text, None) if text in offered else (gr.skip(), f"{control.label}: no such choice.")
    wanted = [value for value in text.split(",") if value]
    kept = [value for value in dict.fromkeys(wanted) if value in offered][: control.max_choices]
    return kept, None if kept == wanted else f"{control.label}: not all of these can be chosen."


def _told(control: Component) -> list | None:
    """What a link may tell of a Dropdown: a visitor's own scopes come later and have names of theirs."""
    return [value for _, value in control.choices] if isinstance(control, gr.Dropdown) else None


def _filled(js: str, **constants: object) -> str:
    for name, value in constants.items():
        js = js.replace(name, json.dumps(value))
    return js
