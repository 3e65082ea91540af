"""The picture world: drawings of everyday things, alone or together, still or moving, and their captions.

Every random choice takes a `random.Random` and depends on nothing else, so a seed always gives the same
scene.
"""

from __future__ import annotations

from functools import cache

from palm_demo.world.atlas import STYLES, Atlas, Concept
from palm_demo.world.backgrounds import COLORS, Background, sample_background
from palm_demo.world.caption_grammar import is_caption
from palm_demo.world.captions import caption, captions, converse, is_exact, with_article
from palm_demo.world.motion import CHANGES, DIRECTIONS, WAYS, MovingScene, frames, moving_scene, write_video
from palm_demo.world.photo_questions import ask_about_photo, sample_photo_question, which_photo_question
from palm_demo.world.photographs import (
    Photograph,
    PhotoNoun,
    everyday_words,
    indefinite,
    named,
    photo_caption,
    photo_classes,
    photo_nouns,
    usual_name,
)
from palm_demo.world.questions import KINDS, MEDIA, Question, ask, sample_question
from palm_demo.world.rendering import augment, render
from palm_demo.world.scene_specs import (
    MOST,
    RELATIONS,
    SceneSpec,
    describe_spec,
    sample_spec,
    scene_of_spec,
    start_gallery,
    write_samples,
    write_scene,
)
from palm_demo.world.scenes import Scene, Thing, count_scene, held_out_pair, pair_scene, single_scene
from palm_demo.world.wordings import made_up_word, made_up_words


def concepts() -> list[str]:
    """Names of the things that models are trained on."""
    return list(Atlas.load().trained)


@cache
def all_names() -> tuple[str, ...]:
    """Names of the things that models are trained on and of photographs, each once."""
    return tuple(dict.fromkeys((*concepts(), *photo_nouns())))


def unseen() -> list[str]:
    """Names of the things that no model is trained on: for few-shot naming."""
    return list(Atlas.load().unseen)


__all__ = [
    "CHANGES",
    "COLORS",
    "DIRECTIONS",
    "KINDS",
    "MEDIA",
    "MOST",
    "RELATIONS",
    "STYLES",
    "WAYS",
    "Atlas",
    "Background",
    "Concept",
    "MovingScene",
    "PhotoNoun",
    "Photograph",
    "Question",
    "Scene",
    "SceneSpec",
    "Thing",
    "all_names",
    "ask",
    "ask_about_photo",
    "augment",
    "caption",
    "captions",
    "concepts",
    "converse",
    "count_scene",
    "describe_spec",
    "everyday_words",
    "frames",
    "held_out_pair",
    "indefinite",
    "is_caption",
    "is_exact",
    "made_up_word",
    "made_up_words",
    "moving_scene",
    "named",
    "pair_scene",
    "photo_caption",
    "photo_classes",
    "photo_nouns",
    "render",
    "sample_background",
    "sample_photo_question",
    "sample_question",
    "sample_spec",
    "scene_of_spec",
    "single_scene",
    "start_gallery",
    "unseen",
    "usual_name",
    "which_photo_question",
    "with_article",
    "write_samples",
    "write_scene",
    "write_video",
]
