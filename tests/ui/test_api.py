"""The named endpoints, called as a program would."""

import urllib.error
import urllib.request
from itertools import pairwise
from pathlib import Path

import httpx
import numpy as np
import pytest
from gradio_client import handle_file
from PIL import Image

from palm_demo import world
from palm_demo.media import is_video

NAMED = {
    *("/generate", "/answer", "/caption", "/classify", "/search", "/scopes", "/nouns"),
    *("/attention_maps", "/make_scene", "/bits_per_byte", "/who_wrote", "/token_probabilities"),
    *("/caption_alternatives", "/similarity"),
    *("/gallery_info", "/gallery_add", "/gallery_remove", "/gallery_export"),
}


@pytest.mark.slow
def test_only_the_named_endpoints_are_public(client):
    described = client.view_api(return_format="dict", print_info=False)
    assert set(described["named_endpoints"]) == NAMED
    assert not described["unnamed_endpoints"]


def test_generate_gives_what_the_session_gives(client, session):
    settings = {"max_new_tokens": 12, "temperature": 0.7, "top_p": 0.9, "seed": 5}
    given = client.predict("Once upon a time", **settings, api_name="/generate")
    assert given == session.generate("Once upon a time", **settings)


def test_generate_takes_a_scope(client, session):
    scope = session.scopes[0]
    given = client.predict("The night", scope, 8, 0.0, api_name="/generate")
    assert given == session.generate("The night", scope, max_new_tokens=8, temperature=0.0)


def test_generate_stops_at_a_text(client):
    whole = client.predict("The night", None, 40, 0.0, api_name="/generate")
    word = whole.split()[3]
    assert word not in client.predict("The night", None, 40, 0.0, stop=[word], api_name="/generate")


def test_scopes_are_those_of_the_session(client, session):
    assert client.predict(api_name="/scopes") == session.scopes


def test_answer_reads_pictures_and_videos_in_one_prompt(client, session, media):
    prompt = "<media> <media> question: which picture has a cat? answer:"
    files = [media / "red.png", media / "short.mp4"]
    given = client.predict(prompt, [handle_file(file) for file in files], api_name="/answer")
    assert given == session.answer(prompt, files)


def test_answer_without_media_reads_text_alone(client, session):
    assert client.predict("It was a", [], api_name="/answer") == session.answer("It was a", [])


def test_looked_at_tells_tokens_gates_and_a_map_of_each_medium(client, session, media):
    prompt = "<media> <media> question: which picture has a cat? answer:"
    files = [media / "red.png", media / "short.mp4"]
    given = client.predict(
        prompt, [handle_file(file) for file in files], "the first", api_name="/attention_maps"
    )
    looked = session.attention_maps(prompt, files, "the first")
    assert given["tokens"] == list(looked.tokens)
    assert [gate["layer"] for gate in given["gates"]] == [gate.layer for gate in looked.gates]
    for place, medium in enumerate(given["media"]):
        assert np.array(medium["maps"][1]) == pytest.approx(looked.map(1, place), abs=1e-4)
        assert medium["shares"][1] == pytest.approx(looked.media_shares(1)[place], abs=1e-4)


def test_make_scene_gives_a_picture_or_a_video_of_what_was_ordered(client, session):
    picture = client.predict("cat", other="bone", relation="above", color="blue", api_name="/make_scene")
    assert picture["caption"] == "a cat above a bone on a blue background"
    with Image.open(picture["file"]) as image:
        assert image.width == image.height
    moving = client.predict("cat", way="left", seed=3, api_name="/make_scene")
    assert moving["question"] == "Which way does the cat move?" and is_video(moving["file"])
    again = client.predict("cat", way="left", seed=3, api_name="/make_scene")
    assert Path(again["file"]).read_bytes() == Path(moving["file"]).read_bytes()


def test_caption_gives_what_the_session_gives(client, session, media):
    given = client.predict(handle_file(media / "blue.png"), api_name="/caption")
    assert given == session.caption(media / "blue.png")


@pytest.mark.parametrize(
    ("endpoint", "arguments"),
    [
        ("/generate", {"prompt": "It was a dark night, and"}),
        ("/answer", {"prompt": "Describe this picture."}),
    ],
)
def test_text_comes_piece_by_piece(client, media, endpoint, arguments):
    if endpoint == "/answer":
        arguments = arguments | {"media": [handle_file(media / "red.png")]}
    pieces = [*client.submit(**arguments, seed=1, api_name=endpoint)]
    assert len(pieces) > 2
    assert all(later.startswith(earlier) for earlier, later in pairwise(pieces))


def test_nouns_are_what_make_scene_draws(client):
    nouns = client.predict(api_name="/nouns")
    assert nouns["known"] == world.concepts() and nouns["never_seen"] == world.unseen()
    made = client.predict(nouns["known"][3], color=nouns["colors"][0], style=None, api_name="/make_scene")
    assert nouns["known"][3] in made["caption"]


def test_every_parameter_is_described(client):
    for name, about in client.view_api(return_format="dict", print_info=False)["named_endpoints"].items():
        assert about["description"].endswith((".", "?")), name
        for parameter in about["parameters"]:
            assert parameter["python_type"]["description"].endswith("."), (name, parameter["parameter_name"])
            assert parameter["label"] == parameter["parameter_name"]


RUN_AS_THEY_STAND = ("/caption", "/classify", "/search", "/answer", "/similarity", "/make_scene", "/nouns")


@pytest.mark.parametrize("endpoint", RUN_AS_THEY_STAND)
def test_the_pages_snippets_run(address, endpoint, tmp_path, monkeypatch, capsys):
    about = httpx.get(f"{address}gradio_api/info").json()["named_endpoints"][endpoint]
    world.write_samples(tmp_path / "samples")
    monkeypatch.chdir(tmp_path)
    exec(compile(about["code_snippets"]["python"], endpoint, "exec"), {})
    assert capsys.readouterr().out.strip()


def test_classify_gives_probabilities(client, media):
    given = client.predict(handle_file(media / "red.png"), ["cat", "dog", "car"], api_name="/classify")
    assert set(given) == {"cat", "dog", "car", "none of these"}
    assert sum(given.values()) == pytest.approx(1, abs=1e-4)


def test_search_finds_pictures_by_words(client, session):
    found = client.predict("a cat", 5, api_name="/search")
    assert [hit["caption"] for hit in found] == [hit.caption for hit in session.search("a cat", 5)]
    assert found[0]["score"] >= found[-1]["score"]
    assert Image.open(found[0]["image"]).size == session.gallery.sample(1)[0].image.size


def test_search_finds_a_picture_by_itself(client, session, tmp_path):
    item = session.gallery.sample(1, seed=7)[0]
    (tmp_path / "seven.png").write_bytes(session.gallery.original(item.id))
    found = client.predict(handle_file(tmp_path / "seven.png"), 3, api_name="/search")
    assert found[0]["caption"] == item.caption
    assert found[0]["score"] == pytest.approx(1, abs=1e-4)


def test_start_gallery_has_200_scenes(session):
    assert len(session.gallery) >= 200
    assert len(world.concepts()) >= 400


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("healthz", 200),
        ("docs", 404),
        ("redoc", 404),
        ("openapi.json", 404),
        ("gradio_api/runs", 404),
        ("monitoring", 404),
        ("gradio_api/file=/etc/passwd", 403),
    ],
)
def test_what_the_server_shows_and_what_not(address, path, status):
    try:
        with urllib.request.urlopen(address + path) as answer:
            seen = answer.status
    except urllib.error.HTTPError as error:
        seen = error.code
    assert seen == status
