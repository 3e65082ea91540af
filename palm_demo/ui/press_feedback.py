"""Feedback for buttons: the component that a button fills is marked until it is filled, and scrolled to.

If the page refuses what was asked, with a message over the page, nothing is scrolled or marked any more.
"""

import json
from collections.abc import Mapping

SCRIPT = """
<script>
(() => {
  const results = RESULTS, SECONDS = 60, PATIENCE = 4, DRAWN_MS = 1000;
  const calm = matchMedia("(prefers-reduced-motion: reduce)");

  function bring(result) {
    const box = result.getBoundingClientRect(), low = innerHeight - Math.min(box.height, innerHeight / 2);
    if (box.top >= 0 && box.top <= low) return;
    const block = box.height > innerHeight ? "start" : "nearest";
    result.scrollIntoView({block, behavior: calm.matches ? "instant" : "smooth"});
  }

  function follow(result) {  // parts of it may be drawn a little later
    const logs = [...document.querySelectorAll("[role=log]")];  // a conversation also scrolls in itself
    const grown = new ResizeObserver(() => {
      for (const log of logs) log.scrollTop = log.scrollHeight;
      bring(result);
    });
    for (const one of [result, ...logs.flatMap(log => [...log.children])]) grown.observe(one);
    setTimeout(() => grown.disconnect(), DRAWN_MS);
  }

  function hear(result) {
    if (!result) return;
    result.classList.add("heard");
    const seen = () => [...result.querySelectorAll("textarea, input, img")].map(one => one.value || one.src)
      .join() + result.textContent;
    const messages = () => document.querySelectorAll(".toast-body").length;
    const before = seen(), said = messages(), end = performance.now() + 1000 * SECONDS;
    let looks = 0;
    const look = setInterval(() => {  // values that scripts write raise no event
      const filled = seen() !== before, refused = messages() > said;
      if (++looks === PATIENCE && !refused) bring(result);
      if (!filled && !refused && performance.now() < end) return;
      clearInterval(look);
      result.classList.remove("heard");
      if (filled) follow(result);
    }, 100);
  }

  const pressed = event => {
    for (const [id, result] of Object.entries(results)) {
      if (event.target.closest?.(`#${id}`)) hear(document.getElementById(result));
    }
  };
  addEventListener("click", event => event.target.closest?.("button, [role=button], tr") && pressed(event));
  addEventListener("filling", event => hear(document.getElementById(event.detail)));
  addEventListener("keydown", event => {
    const writes = event.target.matches?.("textarea, input[type=text]");
    if (writes && event.key === "Enter" && !event.shiftKey) pressed(event);
  });
})();
</script>
"""


def script(results: Mapping[str, str]) -> str:
    """The script for the head of the page.

    results: elem_id of a button, or of a text box in which Enter counts -> elem_id of what it fills.
    """
    return SCRIPT.replace("RESULTS", json.dumps(dict(results)))


def scrolling_to(place: str, room: int = 0) -> str:
    """The JavaScript of an event that scrolls to a component once it is drawn.

    Args:
        place: its elem_id.
        room: pixels that must be seen below it. Where they are not, it is scrolled to the top.
    """
    return f"""() => {{ setTimeout(() => {{
        const target = document.getElementById({json.dumps(place)}), box = target?.getBoundingClientRect();
        const block = {room} && box?.bottom + {room} > innerHeight ? "start" : "nearest";
        const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
        target?.scrollIntoView({{block, behavior: calm ? "instant" : "smooth"}});
    }}, 100); }}"""


def filling(result: str) -> str:
    """The JavaScript of an event that fills a component without a press, such as an upload: it is marked and
    scrolled to as if it had been pressed for.

    result: its elem_id.
    """
    return f"() => {{ dispatchEvent(new CustomEvent('filling', {{detail: {json.dumps(result)}}})); }}"
