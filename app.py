"""Opens the page: `python app.py`, then http://127.0.0.1:7860 (PORT and GRADIO_SERVER_NAME change it).

PALM_DEMO_PROFILE names the weights: "tiny", those that came along, by default; "hub"; or a YAML file.
PALM_DEMO_GALLERY names the folder of the gallery, `gallery/` beside this file otherwise.
"""

import logging
import sys

from palm_demo.errors import PalmDemoError
from palm_demo.serving import local


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        local.serve()
    except PalmDemoError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
