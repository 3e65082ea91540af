"""What we use of gradio's page beyond what it documents: its template, and the configuration in it."""

import html
import re

from gradio import routes

FOR_PROGRAMS = frozenset({"api_info", "api_info_as_input", "api_info_as_output", "example_inputs"})
"""What a configuration says of each component for programs alone, which ask for it at /config."""
CARD = re.compile(rb'\s*<meta\s+(?:property="og:|name="twitter:)[^>]*>')
HEAD, BODY = b"<head>", b"<gradio-app"


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


def with_card(page: bytes, title: str, description: str, picture: str, shown_first: str) -> bytes:
    """A page whose card, where its link is shared, tells of itself and not of gradio.

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
    page = CARD.sub(b"", page)
    page = page.replace(HEAD, HEAD + "".join(head).encode(), 1)
    return page.replace(BODY, shown_first.encode() + BODY, 1)
