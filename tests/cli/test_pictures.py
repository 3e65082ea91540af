"""The verbs about pictures on the command line."""

import random

import pytest

from palm_demo import world
from palm_demo.session import starter_gallery


@pytest.fixture
def files(tmp_path):
    """Two drawings."""
    paths = []
    for seed in (1, 2):
        paths.append(tmp_path / f"{seed}.png")
        world.render(world.single_scene(random.Random(seed))).save(paths[-1])
    return paths


def test_answer_says_what_the_session_answers(run, run_json, session, files):
    prompt = "<media> question: what color is the background? answer:"
    answer = session.answer(prompt, files[:1])
    assert run("answer", prompt, files[0]) == f"{answer}\n"
    assert run_json("answer", prompt, files[0]) == {"prompt": prompt, "answer": answer}


def test_captions_are_of_one_picture_or_of_several(run, run_json, session, files):
    captions = session.captions(files)
    assert run("caption", files[0]) == f"{session.caption(files[0])}\n"
    assert run_json("caption", *files) == [
        {"image": str(file), "caption": caption} for file, caption in zip(files, captions, strict=True)
    ]


def test_labels_come_best_first(run, run_json, session, files):
    chances = session.classify(files[0], ["cat", "red apple"])
    assert run_json("classify", files[0], "cat", "red apple") == pytest.approx(chances)
    assert (
        run("classify", files[0], "cat", "red apple").splitlines()[0].endswith(max(chances, key=chances.get))
    )


@pytest.mark.slow
def test_search_finds_by_words_and_by_a_picture(run, run_json, session, files, tmp_path, monkeypatch):
    monkeypatch.delenv("PALM_DEMO_GALLERY", raising=False)
    monkeypatch.setattr(starter_gallery, "data_folder", lambda: tmp_path / "nowhere")
    for query, words in ((files[0], ("--image", files[0])), ("a cat", ("a cat",))):
        found = run_json("search", *words, "--k", 3)
        assert [hit["caption"] for hit in found] == [hit.caption for hit in session.search(query, 3)]
    assert len(run("search", "a cat", "--k", 3).splitlines()) == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("answer", "<media> caption:"), "1 <media> mark but 0 media"),
        (("caption", "gone.png"), "gone.png"),
        (("search",), "nothing to search for"),
        (("search", "a cat", "--k", 0), "k is 0"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(refused, words, said):
    assert said in refused(*words)
