"""Adds endpoints whose parameters are described in full, which `gr.api` alone does not do.

Gradio itself tells programs a type and no more, and makes snippets that do not run.
"""

import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any, get_args, get_origin, get_type_hints

import gradio as gr
from gradio.blocks import BlockFunction
from gradio.components.api_component import Api
from gradio.context import get_blocks_context
from gradio.utils import get_function_description

PICTURE = {
    "path": "samples/cat.png",
    "url": "samples/cat.png",
    "meta": {"_type": "gradio.FileData"},
}
"""An example that snippets write as `handle_file("samples/cat.png")`."""


class FilePath(dict):
    """The annotation of a parameter that takes a picture or video file."""


def endpoint(function: Callable, examples: Mapping[str, Any], **settings: Any) -> None:
    """Adds a function to the current Blocks as an endpoint of its name, as `gr.api` does.

    Args:
        function: with type hints, and a docstring that says on a line of `Args:` what each parameter is.
        examples: of parameters without a default, by name.
        settings: of `gr.api`.
    """
    gr.api(function, **settings)
    event = list(get_blocks_context().fns.values())[-1]
    _, told, _ = get_function_description(function)
    hints = get_type_hints(function)
    names = [name for name in inspect.signature(function).parameters if hints.get(name) is not gr.Request]
    for component, name in zip(event.inputs, names, strict=True):
        component.label = name
        component._api_info = _schema(hints[name], component._api_info) | {
            "additional_description": told[name]
        }
        if name in examples:
            example = examples[name]
            if FilePath in get_args(hints[name]) and isinstance(example, str):
                example = json.dumps(example)  # gradio's snippets quote words only where nothing else will do
            component.example_payload = component.example_value = lambda example=example: example


def with_defaults(event: BlockFunction, values: list) -> list:
    """The values of a call to an endpoint, and the defaults of the last parameters, if they were left out:
    a program goes on working where an endpoint has got a new one."""
    if not all(isinstance(component, Api) for component in event.inputs):
        return values
    parameters, hints = inspect.signature(event.fn).parameters, get_type_hints(event.fn)
    defaults = [one.default for name, one in parameters.items() if hints.get(name) is not gr.Request]
    left_out = defaults[len(values) :]
    return values if inspect.Parameter.empty in left_out else [*values, *left_out]


def file_inputs(event: object) -> dict[str, bool]:
    """The parameters of an endpoint that take a file, or a list of them: name -> whether words will do as
    well."""
    found = {}
    for component in event.inputs:
        schema = getattr(component, "_api_info", None) or {}
        title = schema.get("items", schema).get("title")
        if title in (FILE, FILE_OR_WORDS):
            found[component.label] = title == FILE_OR_WORDS
    return found


FILE, FILE_OR_WORDS = "File", "FileOrWords"


def _file() -> dict:
    an_object = {"type": "object", "properties": {"path": {"type": "string"}}}
    return {"anyOf": [{"type": "string"}, an_object], "title": FILE}


def _schema(hint: Any, made: dict) -> dict:
    if hint is FilePath:
        return _file()
    if get_origin(hint) is list and get_args(hint) == (FilePath,):
        return {"type": "array", "items": _file()}
    return _file() | {"title": FILE_OR_WORDS} if FilePath in get_args(hint) else made
