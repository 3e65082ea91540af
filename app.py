"""Opens the page: `python app.py`, then http://127.0.0.1:7860 (PORT and GRADIO_SERVER_NAME change it).

PALM_DEMO_PROFILE names the weights: "tiny", those that came along, by default; "hub"; or a YAML file.
PALM_DEMO_GALLERY names the folder of the gallery, `gallery/` beside this file otherwise.
"""

import logging
import os
import tempfile
from pathlib import Path

from palm_demo.settings import load_settings


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    settings = load_settings()
    with tempfile.TemporaryDirectory(prefix="palm-demo-") as folder:
        settings.apply_environment()
        # two processes that share this folder delete each other's files
        os.environ.setdefault("GRADIO_TEMP_DIR", f"{folder}/uploads")

        from palm_demo.ui.start import start  # gradio reads the environment when it is imported

        examples = Path(folder, "examples")
        examples.mkdir()
        start(settings, examples, os.environ.get("PALM_DEMO_PROFILE"), os.environ.get("PALM_DEMO_GALLERY"))


if __name__ == "__main__":
    main()
