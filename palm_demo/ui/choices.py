"""A component that is a row of buttons: tiles with pictures, or chips with words."""

from collections.abc import Sequence

import gradio as gr

TEMPLATE = "<div class='choices' role='group'></div>"

SCRIPT = """
const row = element.querySelector(".choices");
row.setAttribute("aria-label", props.named);
const button = (one, index) => {
  const made = document.createElement("button");
  made.type = "button";
  if (one.image) {
    const picture = new Image(88, 88);
    picture.src = one.image.url;
    picture.alt = "";
    made.append(picture);
  }
  const words = document.createElement("span");
  words.textContent = one.text;
  made.append(words);
  made.addEventListener("click", () => {
    unmark();
    made.setAttribute("aria-pressed", "true");
    trigger("select", {index, value: one.text});
  });
  return made;
};
const unmark = () => {
  for (const one of row.querySelectorAll("[aria-pressed]")) one.removeAttribute("aria-pressed");
};
const draw = () => row.replaceChildren(...(props.value ?? []).map(button));
watch("value", draw);
draw();
addEventListener("input", unmark);  // what is typed takes the place of what was pressed
addEventListener("startover", unmark);
"""
"""The buttons are made in JavaScript, because Gradio would evaluate texts in a template as code."""


def choices(value: Sequence[dict], named: str, elem_id: str, kind: str) -> gr.HTML:
    """A row of buttons, of which the last pressed one is marked until something is typed. Its `select` event
    gives the index.

    Args:
        value: for each button its `text`, and optionally its `image` as a file.
        named: the label of the row for screen readers.
        elem_id: of the component.
        kind: its CSS classes, "tiles" or "chips".
    """
    return gr.HTML(
        list(value),
        html_template=TEMPLATE,
        js_on_load=SCRIPT,
        apply_default_css=False,
        named=named,
        elem_id=elem_id,
        elem_classes=kind,
    )


def chips(texts: Sequence[str]) -> list[dict]:
    """The value of a row of chips."""
    return [{"text": text} for text in texts]
