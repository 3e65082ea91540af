"""The gallery for programs."""

import zipfile

import pytest
from gradio_client import handle_file
from gradio_client.exceptions import AppError

from palm_demo.gallery import Filters


def test_search_takes_words_and_filters(client, session):
    query = session.gallery.sample(1, seed=1)[0]
    found = client.predict("a cat", 5, "dog", "background", "2020-01-01", api_name="/search")
    hits = session.search("a cat", 5, words="dog", filters=Filters(contains="background"))
    assert [hit["id"] for hit in found] == [hit.id for hit in hits]
    assert client.predict("a cat", 5, contains=query.caption, api_name="/search")[0]["id"] == query.id
    with pytest.raises(AppError, match="is not a date"):
        client.predict("a cat", 5, since="x", api_name="/search")


def test_caption_alternatives_are_those_of_the_session(client, session, media):
    given = client.predict(handle_file(media / "red.png"), 3, api_name="/caption_alternatives")
    assert given == pytest.approx(session.caption_alternatives(media / "red.png", 3))
    with pytest.raises(AppError, match="1 to 20"):
        client.predict(handle_file(media / "red.png"), 10**6, api_name="/caption_alternatives")


def test_similarities_are_those_of_the_session(client, session, media):
    files, texts = [media / "red.png", media / "blue.png"], ["a red background", "a cat", "a dog"]
    given = client.predict(texts, [handle_file(file) for file in files], api_name="/similarity")
    for row, expected in zip(given, session.similarity(texts, files).tolist(), strict=True):
        assert row == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "name", "message"),
    [
        ((["a"] * 51, []), "/similarity", "51 texts"),
        (("a", []), "/similarity", "not a list"),
        (([], []), "/similarity", "no texts"),
        (([],), "/gallery_export", "name 1 to"),
        ((["0" * 64] * 25,), "/gallery_export", "25 pictures"),
        ((["0" * 64],), "/gallery_export", "any more"),
        ((["0" * 65],), "/gallery_export", "not a list of ids"),
    ],
)
def test_programs_are_told_what_is_wrong(client, arguments, name, message):
    with pytest.raises(AppError, match=message):
        client.predict(*arguments, api_name=name)


def test_an_export_holds_the_pictures_asked_for(client, session):
    ids = [item.id for item in session.gallery.sample(2, seed=5)]
    with zipfile.ZipFile(client.predict(ids, api_name="/gallery_export")) as archive:
        assert {f"pictures/{id}.png" for id in ids} <= set(archive.namelist())
