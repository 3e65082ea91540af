"""What the page adds about visitors' own pictures: questions to ask, and a remark beneath an answer."""

import html
import re
from collections.abc import Sequence
from functools import cache

from palm_demo import world
from palm_demo.errors import PalmDemoError
from palm_demo.inference.prompts import PromptForm
from palm_demo.inference.questions import is_trained, usual
from palm_demo.media import Medium, is_video
from palm_demo.models.tokenizers import MEDIA
from palm_demo.session import Session
from palm_demo.ui.flamingo import suggestions
from palm_demo.ui.flamingo.asked_media import AskedMedia
from palm_demo.ui.flamingo.taught_words import ASKED, names_taught, names_to_choose
from palm_demo.world.photographs import above, everyday_words

MOST_NAMED = 3
"""The most pictures that MaMMUT captions for suggestions."""
SURE = 0.2
"""The least probability of a caption of MaMMUT's that the page relies on."""
OTHER_NAME = "MaMMUT says: {name} ({probability:.0%} sure). Either may be wrong."
MADE_UP = "Flamingo may have made this word up. MaMMUT says: {name}."
IS_THERE = re.compile(r"is there (?P<thing>.+)\?")
UNTRAINED = "Flamingo did not learn such questions, so it guesses. It knows those like the suggested ones."
NOT_TAUGHT = "That is not the word that you taught it: {name}. Teach it another one too, to choose between."
CHOSEN = "It chose among the words that you taught it: {names}."


def is_quick(session: Session) -> bool:
    """Whether the page may use the models without a visitor's request.

    Large weights take minutes, and workers of ZeroGPU count towards visitors' quotas.
    """
    return session.bundled and type(session) is Session


def suggested_questions(session: Session, media: AskedMedia, visitor: str, paths: list[str]) -> list[str]:
    """Suggested questions about a visitor's own pictures and videos."""
    videos = [path for path in paths if is_video(path)]
    if not is_quick(session):
        return list(suggestions.ANY_VIDEO if videos else suggestions.ANYTHING)
    named = media.of(visitor, videos[:1] or paths[:MOST_NAMED])
    said = [_caption(session, medium.decoded) for medium in named]
    captions = [caption if probability >= SURE else "" for caption, probability in said]
    if videos:
        return suggestions.about_video(captions[0])
    return suggestions.about_several(captions) if len(paths) > 1 else suggestions.about_own(captions[0])


def remark(session: Session, prompt: str, media: Sequence[Medium], answer: str) -> str:
    """HTML of a line beneath an answer about visitors' own media; "" where there is nothing to add.

    It says among which words the answer was chosen, that it is not the one that was taught, or that a
    question is none that Flamingo was trained on.
    If one picture or video was to be named, or looked for a thing, it says what MaMMUT calls it: where it
    is surely another photograph, and where the answer is a word that Flamingo has not learned.

    Args:
        session: with the bundled weights; for others the line is "".
        prompt: the question that Flamingo read, with media tokens.
        media: of the question, decoded. The vision tower has seen them for the answer.
        answer: what Flamingo said.
    """
    form = session.flamingo.form
    if not is_quick(session):
        return ""
    if chosen := names_to_choose(prompt):
        return CHOSEN.format(names=html.escape(", ".join(chosen)))
    taught = names_taught(prompt)
    if taught and prompt.endswith(ASKED) and answer.strip().rstrip(".") not in taught:
        return NOT_TAUGHT.format(name=html.escape(taught[0]))
    if not _is_known(prompt, form):
        return UNTRAINED
    thing = _looked_for(prompt, form)
    if len(media) != 1 or not (thing or asks_what_it_shows(prompt, form)):
        return ""
    try:
        caption, probability = _caption(session, media[0])
    except PalmDemoError:  # the answer is shown without it
        return ""
    photographed = suggestions.PHOTOGRAPHED.fullmatch(caption)
    name = photographed["name"] if photographed else caption
    if thing:
        differs = answer.strip().lower().startswith("yes") != _is_a(name, thing)
    elif _is_made_up(answer):
        return MADE_UP.format(name=html.escape(name))
    else:
        differs = name != _name_in(answer)
    if photographed and probability >= SURE and differs:
        return OTHER_NAME.format(name=html.escape(name), probability=probability)
    return ""


def _is_known(prompt: str, form: PromptForm) -> bool:
    """Whether the last request of a prompt is one that Flamingo was trained on."""
    asked, thing = form.spoken(prompt.rpartition(MEDIA)[2]).lower(), _looked_for(prompt, form)
    known = is_trained(asked) and (thing is None or thing in _names())
    return known or asked == form.caption.strip() or asked.startswith(ASKED)


def _looked_for(prompt: str, form: PromptForm) -> str | None:
    """The thing whose presence a prompt asks about last, such as "a cat"; None if it asks something else."""
    asked = IS_THERE.fullmatch(usual(form.spoken(prompt.rpartition(MEDIA)[2]).lower()) or "")
    return asked["thing"] if asked else None


def _is_a(name: str, thing: str) -> bool:
    """Whether what has a name is a thing: "a tabby cat" is "a cat", "a pet" and "an animal"."""
    noun, looked_for = (text.partition(" ")[2] for text in (name, thing))
    return noun.endswith(looked_for) or (noun in world.all_names() and looked_for in above(noun))


def asks_what_it_shows(prompt: str, form: PromptForm) -> bool:
    """Whether a prompt ends with the question what its last picture shows, or asks for a caption."""
    asked = form.spoken(prompt.rpartition(MEDIA)[2])
    return asked == form.caption.strip() or usual(asked.lower()) in (None, suggestions.NAME.lower())


def _caption(session: Session, medium: Medium) -> tuple[str, float]:
    """MaMMUT's caption of a picture, or of the frame in the middle of a video, and its probability."""
    said = session.describe(medium[len(medium) // 2] if isinstance(medium, list) else medium)
    return said.caption.strip(), said.alternatives.get(said.caption, 0.0)


def _name_in(answer: str) -> str:
    """What an answer names: "a cat" of "a photo of a cat"."""
    said = answer.strip().lower().rstrip(".")
    photographed = suggestions.PHOTOGRAPHED.fullmatch(said)
    return photographed["name"] if photographed else said


def _is_made_up(answer: str) -> bool:
    """Whether an answer begins with a noun that no model was trained on."""
    words = _name_in(answer).split()
    begins = (" ".join(words[:end]) for end in range(2, len(words) + 1))
    return words[:1] in (["a"], ["an"]) and _names().isdisjoint(begins)


@cache
def _names() -> frozenset[str]:
    return frozenset(map(world.named, (*world.all_names(), *everyday_words())))
