"""Suggests questions about a picture, in forms that Flamingo knows."""

import re
from collections.abc import Sequence

from palm_demo import world
from palm_demo.world import MovingScene, Photograph, Question, Scene

CAPTION = "Caption it"
"""The suggestion that asks for a caption."""

CAPTIONED = re.compile(
    r"(?P<count>an?|two|three|four|five) (?P<first>.+?)"
    r"(?: (?P<where>to the left of|to the right of|above|below) an? (?P<second>.+?))? on an? \w+ background"
)
"""The form of captions that the bundled MaMMUT writes."""
PHOTOGRAPHED = re.compile(r"a photo of (?P<name>.+)")

BOTH_WAYS = (("left", "right"), ("above", "below"))
OTHER_WAY = {
    world.RELATIONS[one]: world.RELATIONS[other] for pair in BOTH_WAYS for one, other in (pair, pair[::-1])
}
"""Where the first thing is from the second -> where the second is from the first."""

NAME = "What is this?"
COLOR = "What color is the background?"
ANYTHING = (NAME, COLOR, "Is there a cat?", CAPTION)
ANY_VIDEO = (CAPTION,)
PHOTO_OR_DRAWING = "Is this a photo or a drawing?"


def about_scene(question: Question) -> list[str]:
    """Further questions about the media of a question of the picture world."""
    if question.kind == "few_shot_naming":
        return []
    if len(question.media) > 1:
        named = {name for scene in question.media for name in scene.names}
        return [f"Which picture has {world.with_article(name)}?" for name in sorted(named)][:4]
    (scene,) = question.media
    if isinstance(scene, Photograph):
        return [PHOTO_OR_DRAWING, f"Is there {world.indefinite(scene.names[0])}?", CAPTION]
    if isinstance(scene, MovingScene):
        return _moving(scene.names[0])
    return _still(scene)


def about_caption(caption: str) -> list[str]:
    """Questions about a picture with this caption of MaMMUT."""
    if (photographed := PHOTOGRAPHED.fullmatch(caption.strip())) is not None:
        return [NAME, PHOTO_OR_DRAWING, f"Is there {photographed['name']}?", CAPTION]
    parts = CAPTIONED.fullmatch(caption.strip())
    if parts is None:
        return list(ANYTHING)
    if parts["second"]:
        return _pair(parts["first"], parts["second"], parts["where"])
    if parts["count"] not in ("a", "an"):
        return [f"How many {parts['first']} are there?", COLOR, CAPTION]
    return [f"Is there {parts['count']} {parts['first']}?", COLOR, CAPTION]


def about_own(caption: str) -> list[str]:
    """Questions about somebody's own picture with this caption of MaMMUT, of which the first asks for its
    name. caption: "" where MaMMUT is not sure."""
    return [*dict.fromkeys((NAME, *about_caption(caption)))]


def about_video(caption: str) -> list[str]:
    """Questions about a video whose middle frame has this caption of MaMMUT."""
    parts = CAPTIONED.fullmatch(caption.strip())
    return _moving(parts["first"]) if parts else list(ANY_VIDEO)


def about_several(captions: Sequence[str]) -> list[str]:
    """Questions about several pictures with these captions of MaMMUT."""
    matches = [CAPTIONED.fullmatch(caption.strip()) for caption in captions]
    single = [
        f"{parts['count']} {parts['first']}" for parts in matches if parts and parts["count"] in ("a", "an")
    ]
    return [f"Which picture has {name}?" for name in dict.fromkeys(single)][:4]


def _still(scene: Scene) -> list[str]:
    name, *others = scene.names
    if scene.relation is not None:
        return _pair(name, others[0], world.RELATIONS[scene.relation])
    if scene.kind == "count":
        plural = world.Atlas.load().concept(name).plural
        return [f"How many {plural} are there?", COLOR, CAPTION]
    return [f"Is there {world.with_article(name)}?", COLOR, CAPTION]


def _pair(first: str, second: str, where: str) -> list[str]:
    """Questions about two things. where: the place of the first from the second, such as "above"."""
    return [f"What is {where} the {second}?", f"What is {OTHER_WAY[where]} the {first}?", COLOR, CAPTION]


def _moving(name: str) -> list[str]:
    return [f"Which way does the {name} move?", f"Does the {name} grow or shrink?"]
