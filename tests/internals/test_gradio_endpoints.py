"""Gradio tells programs of a parameter what we told it, and makes snippets from our examples."""

import gradio as gr
import pytest

from palm_demo.internals.gradio_endpoints import PICTURE, FilePath, endpoint, file_inputs, with_defaults


def look(image: FilePath, others: list[FilePath], words: str | FilePath, k: int = 8) -> str:
    """What is seen.

    Args:
        image: a picture.
        others: more pictures.
        words: words or a picture.
        k: how many.
    """
    return str(image)


@pytest.fixture
def page() -> gr.Blocks:
    examples = {"image": PICTURE, "others": [PICTURE], "words": "a cat"}
    with gr.Blocks() as page:
        endpoint(look, examples, concurrency_limit=None)
    return page


def test_parameters_have_their_names_descriptions_and_examples(page):
    about = page.get_api_info()["named_endpoints"]["/look"]
    assert about["description"] == "What is seen."
    told = {one["parameter_name"]: one["python_type"]["description"] for one in about["parameters"]}
    assert told == {
        "image": "a picture.",
        "others": "more pictures.",
        "words": "words or a picture.",
        "k": "how many.",
    }
    assert [one["label"] for one in about["parameters"]] == list(told)
    examples = {one["parameter_name"]: one["example_input"] for one in about["parameters"]}
    assert examples == {"image": PICTURE, "others": [PICTURE], "words": '"a cat"', "k": 8}


def test_snippets_send_files_and_quote_words(page):
    from gradio_client.snippet import generate_code_snippets

    about = page.get_api_info()["named_endpoints"]["/look"]
    python = generate_code_snippets("/look", about, "http://127.0.0.1:7860")["python"]
    assert "image=handle_file('samples/cat.png')" in python
    assert "others=[handle_file('samples/cat.png')]" in python
    assert 'words="a cat"' in python


def test_inputs_that_are_files_are_known(page):
    (event,) = page.fns.values()
    assert file_inputs(event) == {"image": False, "others": False, "words": True}


def test_values_that_are_left_out_at_the_end_are_the_defaults(page):
    (event,) = page.fns.values()
    assert with_defaults(event, ["a", [], "b"]) == ["a", [], "b", 8]
    assert with_defaults(event, ["a", [], "b", 3]) == ["a", [], "b", 3]
    assert with_defaults(event, ["a"]) == ["a"]
