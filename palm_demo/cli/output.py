"""What a command prints: lines for people, or one JSON document for programs."""

import argparse
import json
from collections.abc import Iterable


def add_json_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of lines")


def show(given: argparse.Namespace, document: object, lines: Iterable[str]) -> None:
    """The document with `--json`, the lines otherwise."""
    if given.json:
        print(json.dumps(document, ensure_ascii=False))
    else:
        for line in lines:
            print(line)
