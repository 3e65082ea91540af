"""Links that contain the settings of a tab. The browser writes them, and the page reads them when it loads.

Gradio's DeepLinkButton stores all values of a page on the server, also prompts and pictures, and shows them
to everybody with the link. These links contain only settings, and nothing is stored.
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
"""The name of the innermost tab to open in a link."""

WHOLE = re.compile("-?[0-9]{1,15}")
"""Integers with as many digits as JavaScript's numbers can store."""

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
    """The tabs of a page that links can open, each with its settings."""

    def __init__(self):
        self._tabs_of: dict[str, list[gr.Tab]] = {}
        self._settings: dict[str, Mapping[str, Component]] = {}

    def button(self, settings: Mapping[str, Component]) -> None:
        """Adds a button to the current tab that copies a link to it.

        settings: components by their names in the link. None may be free text. Of a Dropdown, only initial
        choices are put into links.
        """
        button = gr.Button(LABEL, size="sm", scale=0, min_width=210)
        around = tabs_around(button)
        place = around[0].id
        self._tabs_of[place], self._settings[place] = around, settings
        known = {name: _initial_choices(control) for name, control in settings.items()}
        js = _filled(COPY, PLACE=place, KNOWN=known, LABEL=LABEL, COPIED=COPIED)
        own = {"api_visibility": "private", "show_progress": "hidden"}
        button.click(None, list(settings.values()), button, js=js, **own)
        button.click(None, None, button, js=_filled(LATER, MS=COPIED_MS, LABEL=LABEL), **own)

    def open_with(self, page: gr.Blocks) -> None:
        """Makes the page apply the settings in its URL when it loads. Call it after all buttons are added."""
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
    """The value for a control from the text in a link, and a message, which is None if all is well.

    The value is gr.skip() if the text is invalid. Messages do not quote the text, because whoever made the
    link could use that to show any text on the page.
    """
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


def _initial_choices(control: Component) -> list | None:
    """The initial choices of a Dropdown, without a visitor's own scopes; None for other controls."""
    return [value for _, value in control.choices] if isinstance(control, gr.Dropdown) else None


def _filled(js: str, **constants: object) -> str:
    for name, value in constants.items():
        js = js.replace(name, json.dumps(value))
    return js
