"""Flamingo's tab where it needs no server: prompts from rows, words from tokens, heat, scenes, sources."""

import base64
import io
import re
from random import Random
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from palm_demo import world
from palm_demo.concurrency import FairQueue
from palm_demo.errors import MediaError, PromptError
from palm_demo.inference.attention_maps import compute_attention_maps
from palm_demo.inference.prompts import OURS
from palm_demo.media import MediaLimits, is_video, open_medium
from palm_demo.models.cross_attention import GatedCrossAttention
from palm_demo.settings import SPACEFILE, load_settings
from palm_demo.ui.components import Paper, sources
from palm_demo.ui.flamingo import saving
from palm_demo.ui.flamingo.attention import film, glowing, still, table, words
from palm_demo.ui.flamingo.conversation import Exchange, joined, verdict
from palm_demo.ui.flamingo.few_shot import draw_set, shot_prompt
from palm_demo.ui.flamingo.own_media import paths_of, value_of
from palm_demo.ui.flamingo.presets import SETS
from palm_demo.ui.flamingo.saving import as_page
from palm_demo.ui.flamingo.scenes import SceneMaker, check_drawn, draw_scene
from palm_demo.ui.flamingo.second_opinion import asks_what_it_shows
from palm_demo.ui.flamingo.suggestions import about_caption, about_own, about_scene
from palm_demo.ui.flamingo.taught_words import asked, names_to_choose, taught

QUESTION = {"text": "this is a", "files": ["c.png"]}
PAPER = Paper("A <paper>", "Someone, 2022", "https://example.org/paper")


@pytest.fixture(scope="module")
def limits():
    return load_settings().limits


def row(text: str, *files: str) -> dict:
    return {"text": text, "files": list(files)}


# rows


def test_rows_and_a_question_become_one_prompt_in_their_order(limits):
    rows = [row("this is a dax.", "a.png"), row("this is a wug.", "b.mp4")]
    prompt = "<media> this is a dax. <media> this is a wug. <media> this is a"
    assert shot_prompt(rows, QUESTION, limits) == (prompt, ["a.png", "b.mp4", "c.png"])


def test_a_row_may_have_several_pictures_with_or_without_marks(limits):
    rows = [row(" two dax. ", "a.png", "b.png"), row("<media> and <media>", "d", "e")]
    assert shot_prompt(rows, QUESTION, limits) == (
        "<media> <media> two dax. <media> and <media> <media> this is a",
        ["a.png", "b.png", "d", "e", "c.png"],
    )


@pytest.mark.parametrize(
    ("broken", "question", "said"),
    [
        (row(" "), QUESTION, "example 2 is empty; add a picture and write what it shows, .* or remove it"),
        (row("this is a wug."), QUESTION, "example 2 has no picture; add the one .* or remove it"),
        (row(" ", "b.png"), QUESTION, "example 2 has a picture but no words; write what it shows"),
        (row("a wug."), QUESTION, "example 2 has no picture; add the one .* or remove it"),
        (row("caption: a wug", "b.png"), row(" "), "the question is empty; add a picture and write what to"),
        (row("a wug.", "b.png"), row("this is a"), "the question has no picture; add"),
    ],
)
def test_a_row_without_picture_or_words_is_named_with_what_to_do(limits, broken, question, said):
    with pytest.raises((PromptError, MediaError), match=f"^{said}"):
        shot_prompt([row("this is a dax.", "a.png"), broken], question, limits)


@pytest.mark.parametrize(
    "question",
    [
        "",
        "this is a",
        "This is",
        "what is this?",
        "What's this",
        "so what do you call this?",
        "and this one?",
    ],
)
@pytest.mark.parametrize(
    "dax",
    [
        "dax",
        "a dax",
        "A dax!",
        "This is a dax",
        "it's a dax.",
        "this is a dax.",
        "my dax",
        "It’s my dax",
        "we call it dax",
        "here is a “dax”",
        "Meet our dax!",
        "Let's call that one a dax",
        "and that is a dax",
        "and this one is called a dax",
        "I call it a dax, too",
        "now this one’s a dax",
        "its name is dax",
        "look, a dax!",
    ],
)
def test_words_are_taught_as_flamingo_learned_to_be_taught(limits, dax, question):
    prompt, _ = shot_prompt([row(dax, "a.png"), row("wug", "b.png")], row(question, "c.png"), limits)
    assert prompt == "<media> this is a dax. <media> this is a wug. <media> this is a"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("apple", "this is an apple."),
        ("Old Bear", "this is an old bear."),
        ("the moon", "this is the moon."),
        ("two cats", "two cats"),
        ("a cat on a table", "a cat on a table"),
        ("is there a cat?", "is there a cat?"),
        ("this is it", "this is it"),
        ("question: what is it? answer: red", "question: what is it? answer: red"),
        ("this is my very old bear", "this is my very old bear"),
        ("", ""),
    ],
)
def test_other_words_beside_an_example_stay_as_they_are(words, said):
    assert taught(words) == said


def test_what_introduces_a_name_is_read_in_one_way_however_often_it_stands_there():
    words = "let's " * 2000 + "!"
    assert taught(words) == words


def test_a_question_with_words_of_its_own_keeps_them_and_so_does_one_after_other_examples():
    assert asked("is this a dax?", ["this is a dax."]) == "is this a dax?"
    assert asked("is there a dax?", ["this is a dax."]) == "is there a dax?"
    assert asked("what is this?", ["two cats"]) == "what is this?"
    assert asked("and these?", ["two cats"]) == "and these?"
    assert asked("", ["two cats"]) == "what is this?" and asked("", []) == ""


@pytest.mark.parametrize(
    ("prompt", "names"),
    [
        ("<media> this is a dax. <media> this is a wug. <media> this is a", ["dax", "wug"]),
        (
            "<media> this is a dax. <media> this is a wug. <media> this is a dax. <media> this is a",
            ["dax", "wug"],
        ),
        ("<media> this is an old bear. <media> this is the moon. <media> this is a", ["old bear", "moon"]),
        ("<media> this is a dax. <media> this is a", []),
        ("<media> this is a dax. <media> this is a wug. <media> is there a dax?", []),
        ("<media> this is a", []),
        (f"<media> this is a dax. <media> this is a {'very ' * 9}old bear. <media> this is a", []),
    ],
)
def test_flamingo_chooses_among_the_words_of_its_examples_where_there_are_several(prompt, names):
    assert names_to_choose(prompt) == names


def test_rows_that_are_too_much_say_so(limits):
    with pytest.raises(MediaError, match="9 files came at once and at most 8 fit"):
        shot_prompt([row("a dax.", "a.png")] * 8, QUESTION, limits)
    with pytest.raises(PromptError, match="bytes and at most"):
        shot_prompt([row("x" * (limits.prompt_bytes + 1), "a.png")], QUESTION, limits)
    with pytest.raises(PromptError, match="2 <media> marks but 3 media"):
        shot_prompt([row("<media> two", "a.png", "b.png")], QUESTION, limits)


def test_earlier_turns_become_one_prompt_with_their_answers():
    turns = [Exchange("<media> this is a", ["a.png"], "dax"), Exchange("<media> this is a", ["b.png"], "")]
    assert joined(turns) == ("<media> this is a dax <media> this is a", ["a.png", "b.png"])


@pytest.mark.parametrize("title", SETS)
def test_an_example_set_is_a_prompt_about_files_that_can_be_opened(limits, tmp_path, title):
    one = draw_set(tmp_path, SETS[title])
    *rows, question = (row(shot.text, *shot.media) for shot in one.shots)
    prompt, media = shot_prompt(rows, question, limits)
    assert prompt.count("<media>") == len(media) == len(one.shots) > 2
    assert all(open_medium(path, 8, MediaLimits()) for path in media)
    assert one.answer and not prompt.endswith(one.answer)


# own pictures, and questions about them


def test_only_files_as_the_door_lets_them_by_are_pictures():
    file = {"path": "/uploads/a.png", "orig_name": "a.png", "meta": {}}
    assert paths_of([file]) == ["/uploads/a.png"] and paths_of(None) == paths_of([]) == []
    for foreign in ("/etc/passwd", ["/etc/passwd"], [{"url": "/etc/passwd"}], {"path": "a.png"}, 7):
        with pytest.raises(MediaError, match="not a list of files"):
            paths_of(foreign)
    assert [one["path"] for one in value_of(["/uploads/a.png"])] == ["/uploads/a.png"]


@pytest.mark.parametrize(
    ("caption", "asked"),
    [
        ("a cat on a blue background", "Is there a cat?"),
        ("an owl above a red apple on an orange background", "What is below the owl?"),
        ("three cats on a red background", "How many cats are there?"),
        ("a street at night, seen from above", "What color is the background?"),
        ("a photo of a koala", "What is this?"),
    ],
)
def test_questions_are_filled_with_what_is_in_the_picture(caption, asked):
    assert asked in about_caption(caption)


@pytest.mark.parametrize("caption", ["a cat above a dog on a red background", "a photo of a koala", ""])
def test_of_ones_own_picture_the_first_question_is_what_it_is(caption):
    first, *others = about_own(caption)
    assert first == "What is this?" and first not in others and others


def test_of_a_drawn_scene_questions_are_known_to_fit():
    question = world.sample_question(Random(3), "what_is_where")
    first, second = question.media[0].names
    asked = about_scene(question)
    assert any(text.endswith(f"the {second}?") for text in asked)
    assert any(text.endswith(f"the {first}?") for text in asked)
    video = world.sample_question(Random(3), "way")
    assert about_scene(video)[0] == f"Which way does the {video.media[0].names[0]} move?"


def test_what_the_page_says_of_an_answer_is_what_it_drew():
    assert verdict(("a cat",), " A cat. ").startswith("✓ Right")
    assert "the answer is “a cat”" in verdict(("a cat",), "a dog")


def test_a_question_is_shown_as_people_ask_it_and_other_words_as_they_are():
    assert OURS.spoken("question: what is this? answer:") == "What is this?"
    assert OURS.spoken(" this is a ") == "this is a"
    assert (
        OURS.spoken("so: question: what is this? answer: a cat")
        == "so: question: what is this? answer: a cat"
    )


def test_a_conversation_that_is_too_large_to_save_names_its_size_and_the_limit(tmp_path, monkeypatch):
    (tmp_path / "a.webp").write_bytes(b"x" * 16)
    media = [SimpleNamespace(value={"path": str(tmp_path / "a.webp")})]
    turns = [Exchange("<media> what is this?", ["a.png"], "a cat", media)]
    assert as_page(turns).count("<img src='data:image/webp;base64,") == 1
    monkeypatch.setattr(saving, "MOST_BYTES", 10)
    with pytest.raises(MediaError, match="have 16 bytes together and at most 10 fit; start over"):
        as_page(turns)


@pytest.mark.parametrize("question", ["What is this?", "Describe this picture.", "what do you see"])
def test_some_questions_ask_what_a_picture_shows(question):
    assert asks_what_it_shows(OURS.completed(question, 1), OURS)


@pytest.mark.parametrize("question", ["What color is the background?", "this is a", "Is there a cat?"])
def test_other_questions_do_not_ask_what_a_picture_shows(question):
    assert not asks_what_it_shows(OURS.completed(question, 1), OURS)


# words and heat


def test_tokens_are_gathered_into_words():
    assert words([" a", " f", "er", "ry", " above"]) == [
        ("a", range(0, 1)),
        ("ferry", range(1, 4)),
        ("above", range(4, 5)),
    ]
    assert words(["yes"]) == [("yes", range(0, 1))]
    assert words([" ", "ok"]) == [("ok", range(0, 2))]


def test_a_picture_glows_where_the_attention_went_and_is_gray_elsewhere():
    heat = np.zeros((4, 4))
    heat[0, 0] = 1
    shown = np.asarray(glowing(Image.new("RGB", (96, 96), "blue"), heat)).astype(int)
    hot, cold = shown[8, 8], shown[-8, -8]
    assert hot.sum() > cold.sum() + 200
    assert np.ptp(hot) > 60 and np.ptp(cold) == 0


def test_pictures_on_the_page_are_whole_and_described():
    shown = film("video <1>", [(Image.new("RGB", (8, 8), "red"), "frame 1: 40%")] * 3)
    assert shown.count("alt='video &lt;1&gt;, frame 1: 40%'") == 3 and "video <1>" not in shown
    (encoded,) = re.findall(r"base64,([^']+)'", still("picture 1", Image.new("RGB", (8, 8), "red")))
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as image:
        assert image.size == (8, 8)


def test_numbers_of_a_table_are_figures_and_bars():
    shown = table(["layer", "gate"], [("after <1>", 0.5), ("after 2", -0.25)])
    assert "after &lt;1&gt;" in shown and "width:1.50em" in shown and "0.50" in shown
    assert "width:0.75em" in shown and "-0.25" in shown


# scenes


@pytest.fixture
def uploads(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("order", "caption", "question"),
    [
        (world.SceneSpec("cat", color="red"), "a cat on a red background", "What color is the background?"),
        (
            world.SceneSpec("cat", count=3, color="red"),
            "three cats on a red background",
            "How many cats are there?",
        ),
        (
            world.SceneSpec("cat", way="up", color="red"),
            "a cat that moves up on",
            "Which way does the cat move?",
        ),
        (
            world.SceneSpec("cat", way="grows", color="red"),
            "a cat that grows",
            "Does the cat grow or shrink?",
        ),
        (
            world.SceneSpec("cat", other="bone", relation="below"),
            "a cat below a bone",
            "What is (above|below) the ",
        ),
    ],
)
def test_a_made_scene_is_a_file_with_a_caption_and_a_question(uploads, order, caption, question):
    drawn = draw_scene(order, Random(1), FairQueue())
    assert drawn.caption.startswith(caption) and re.match(question, drawn.question)
    assert drawn.path.startswith(str(uploads)) and is_video(drawn.path) == (order.way is not None)
    assert open_medium(drawn.path, 8, MediaLimits())


def test_a_scene_that_cannot_be_made_is_the_visitors_to_mend(uploads):
    with pytest.raises(PromptError, match="choose one of them"):
        draw_scene(world.SceneSpec("cat", count=2, way="up"), Random(1), FairQueue())
    assert not any(uploads.iterdir())


def test_controls_that_were_emptied_leave_their_choice_to_the_page(uploads):
    with gr.Blocks():
        maker = SceneMaker(SimpleNamespace(turns=FairQueue()))
    drawn, *_ = maker._draw("cat", 1, "bone", None, None, None, None)
    assert drawn.caption.startswith("a cat to the left of a bone")


def test_a_scene_that_is_gone_is_drawn_again():
    with pytest.raises(PromptError, match="no longer kept; draw it again"):
        check_drawn(None)


# sources


def test_sources_are_the_paper_and_where_the_code_is():
    shown = sources(PAPER, (GatedCrossAttention, compute_attention_maps), None)
    assert "A &lt;paper&gt;" in shown and "href='https://example.org/paper'" in shown
    assert (
        "palm_demo/models/cross_attention.py · GatedCrossAttention" in shown
        and "palm_demo/inference/attention_maps.py · compute_attention_maps" in shown
    )
    assert shown.count("<a ") == 1
    assert "In code" not in sources(PAPER, (), None)


def test_sources_link_the_line_where_the_repository_has_an_address():
    shown = sources(PAPER, (compute_attention_maps,), "https://example.org/code")
    (path, line) = re.search(r"https://example.org/code/blob/main/(\S+)#L(\d+)", shown).groups()
    lines = (SPACEFILE.parent / path).read_text(encoding="utf-8").splitlines()
    assert any("def compute_attention_maps(" in text for text in lines[int(line) - 1 : int(line) + 1])
