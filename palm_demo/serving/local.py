"""The page and its models in this one process: what `python app.py` does."""

import os

from palm_demo.serving.surroundings import page_folder, surround
from palm_demo.settings import load_settings


def serve() -> None:
    """Serves the page until it is interrupted, where PORT and GRADIO_SERVER_NAME say, by default on
    http://127.0.0.1:7860. PALM_DEMO_GALLERY names the folder of its gallery."""
    settings = load_settings()
    with page_folder() as folder:
        examples = surround(settings, folder)

        import palm_demo
        from palm_demo.gallery import chosen_place
        from palm_demo.ui import page

        place = chosen_place(os.environ.get("PALM_DEMO_GALLERY"))
        session = palm_demo.load("tiny", settings.limits.of_media, settings.limits.of_batch, place)
        page.launch(page.build(session, settings, examples), settings)
