"""From settings to a page that is served: at once with the bundled weights, behind a bar with others."""

from collections.abc import Callable
from pathlib import Path

from palm_demo.gallery import chosen_place
from palm_demo.gallery.place import beside_the_app
from palm_demo.profiles import TINY, Step, own_name
from palm_demo.session import Session, load, load_or_tiny
from palm_demo.settings import Settings
from palm_demo.ui import page
from palm_demo.ui.opening import opening


def start(
    settings: Settings,
    examples: Path,
    profile: str | None,
    gallery: str | None,
    answering: Callable[[Session], Session] = lambda session: session,
    **options,
) -> object:
    """Serves the page of a profile, or of the bundled weights with a banner that says why.

    examples: an empty folder that outlives the page. profile, gallery: as the environment names them, or
    None. answering: gives the session that the page asks, from the one that has the weights. options: of
    gradio's `launch`, whose return value comes back.
    """
    limits = settings.limits.of_media, settings.limits.of_batch
    if (profile or TINY) == TINY:
        session = answering(load(TINY, *limits, chosen_place(gallery)))
        return page.launch(page.build(session, settings, examples), settings, **options)
    place = chosen_place(gallery, beside_the_app(own_name(profile)))
    with opening(settings.space.title, options.get("server_name"), options.get("server_port")) as door:
        session, fell_back = load_or_tiny(profile, *limits, place, lambda: chosen_place(None), door.tell)
        door.tell(Step("Drawing the page"))
        blocks = page.build(answering(session), settings, examples, fell_back)
    return page.launch(blocks, settings, **{**options, "server_port": door.port})
