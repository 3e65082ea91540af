"""What we use of gradio's page beyond what it documents: its template, configuration and core script."""

import html
import re
from functools import cache
from pathlib import Path

from gradio import routes

FOR_PROGRAMS = frozenset({"api_info", "api_info_as_input", "api_info_as_output", "example_inputs"})
"""What a configuration says of each component for programs alone, which ask for it at /config."""
CARD = re.compile(rb'\s*<meta\s+(?:property="og:|name="twitter:)[^>]*>')
HEAD, BODY = b"<head>", b"<gradio-app"
ENTRY = re.compile(r'src="\./assets/(index-[\w-]+\.js)"')
NEEDED = re.compile(r"m\.f=\[([^]]*)\]")
"""What a script that vite built names of the files that its own imports need, in the order they need them."""
ALWAYS = "Blocks-"
"""The beginning of the names of scripts that draw a page; those left out are for a page with a login."""
CORE = re.compile(r"core-[\w-]+\.js")
LOADING = (
    ("visible===!1?null:G(i.type,", "visible===!1||!this.resolved?null:G(i.type,"),
    ("[e=>je(e,this.#r.api_url),e=>Me(", "[e=>Me("),
    (
        "e=>Ne(e,this.components_to_register,this.#d)]",
        "e=>Ne(e,this.components_to_register,this.#d),e=>je(e,this.#r.api_url)]",
    ),
)
"""What is replaced in the core of Gradio 6.31's page, and by what.

There `G` loads the script of a component, `je` those of visible components, and `Ne` marks components in
closed tabs and accordions as invisible. Gradio loads all scripts first; here `je` comes after `Ne`, and loads
the first ones. When a tab or an accordion opens, Gradio loads what is missing by itself.
"""


def send_little() -> None:
    """Leaves out of the configuration in the page itself what only programs read, for as long as this process
    lives; the page has it at /config in full."""
    whole = routes.toorjson

    def lean(value: object) -> str:
        if isinstance(value, dict) and "components" in value:
            value = value | {"components": [_for_browsers(one) for one in value["components"]]}
        return whole(value)

    routes.templates.env.filters["toorjson"] = lean


def _for_browsers(component: dict) -> dict:
    return {name: value for name, value in component.items() if name not in FOR_PROGRAMS}


@cache
def first_files() -> tuple[str, ...]:
    """Names of the scripts and styles, below assets/, without which nothing of a page is drawn.

    A browser that is not told of them learns of each only from the one before."""
    folder = Path(routes.STATIC_TEMPLATE_LIB, "frontend")
    (entry,) = ENTRY.findall((folder / "index.html").read_text(encoding="utf-8"))
    first = _needed(folder / "assets" / entry)
    second = next(name for name in first if name.endswith(".js"))
    return tuple(first + [name for name in _needed(folder / "assets" / second) if name.startswith(ALWAYS)])


@cache
def late_core() -> tuple[str, str]:
    """The core of Gradio's page, changed so that a closed tab or accordion loads its scripts when it opens.

    Returns its name below assets/, and its text. The core of another Gradio than 6.31 is left as it is.
    """
    (name,) = filter(CORE.fullmatch, first_files())
    text = Path(routes.STATIC_TEMPLATE_LIB, "frontend", "assets", name).read_text(encoding="utf-8")
    if all(text.count(theirs) == 1 for theirs, _ in LOADING):
        for theirs, ours in LOADING:
            text = text.replace(theirs, ours)
    return name, text


def _needed(script: Path) -> list[str]:
    (names,) = NEEDED.findall(script.read_text(encoding="utf-8"))[:1]
    return re.findall(r'"\./([^"]+)"', names)


def _told_early(name: str) -> str:
    kind = 'rel="modulepreload"' if name.endswith(".js") else 'rel="preload" as="style"'
    return f'<link {kind} crossorigin href="./assets/{name}">'


def with_card(page: bytes, title: str, description: str, picture: str, shown_first: str) -> bytes:
    """A page that asks for its first files at once, and whose card, where its link is shared, is its own.

    Args:
        page: as gradio sends it.
        picture: an address.
        shown_first: HTML that stands there until the page does.
    """
    told = {
        "og:type": "website",
        "og:title": title,
        "og:description": description,
        "og:image": picture,
        "twitter:card": "summary_large_image",
    }
    head = [f"<title>{html.escape(title)}</title>"]
    head += [f'<meta name="description" content="{html.escape(description)}">']
    head += [f'<meta property="{name}" content="{html.escape(value)}">' for name, value in told.items()]
    head += map(_told_early, first_files())
    page = CARD.sub(b"", page)
    page = page.replace(HEAD, HEAD + "".join(head).encode(), 1)
    return page.replace(BODY, shown_first.encode() + BODY, 1)
