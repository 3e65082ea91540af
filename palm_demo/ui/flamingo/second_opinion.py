"""What MaMMUT says of visitors' own pictures: questions about them, and a name beneath Flamingo's answer."""

import html
from collections.abc import Sequence
from functools import cache

from palm_demo import world
from palm_demo.errors import PalmDemoError
from palm_demo.inference.prompts import PromptForm
from palm_demo.inference.questions import usual
from palm_demo.media import Medium, is_video
from palm_demo.models.tokenizers import MEDIA
from palm_demo.session import Session
from palm_demo.ui.flamingo import suggestions
from palm_demo.ui.flamingo.asked_media import AskedMedia
from palm_demo.world.photographs import everyday_words

MOST_NAMED = 3
"""The most pictures that MaMMUT captions for suggestions."""
PHOTOGRAPH = "MaMMUT, which knows more photographs, says: {name}."
MADE_UP = "Flamingo may have made this word up. MaMMUT says: {name}."


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
    captions = [_caption(session, medium.decoded) for medium in named]
    if videos:
        return suggestions.about_video(captions[0])
    return suggestions.about_several(captions) if len(paths) > 1 else suggestions.about_caption(captions[0])


def second_opinion(session: Session, prompt: str, media: Sequence[Medium], answer: str) -> str:
    """HTML of a line with MaMMUT's name for what a question asked about; "" where there is nothing to add.

    There is a line if the question asks what one picture or video shows, and it is a photograph or the
    answer is a word that Flamingo has not learned.

    Args:
        session: with the bundled weights; for others the line is "".
        prompt: the question that Flamingo read, with media tokens.
        media: of the question, decoded. The vision tower has seen them for the answer.
        answer: what Flamingo said.
    """
    if len(media) != 1 or not is_quick(session) or not asks_what_it_shows(prompt, session.flamingo.form):
        return ""
    try:
        caption = _caption(session, media[0])
    except PalmDemoError:  # the answer is shown without it
        return ""
    if (photographed := suggestions.PHOTOGRAPHED.fullmatch(caption.strip())) is not None:
        return PHOTOGRAPH.format(name=html.escape(photographed["name"]))
    return MADE_UP.format(name=html.escape(caption)) if _is_made_up(answer) else ""


def asks_what_it_shows(prompt: str, form: PromptForm) -> bool:
    """Whether a prompt ends with the question what its last picture shows, or asks for a caption."""
    asked = form.spoken(prompt.rpartition(MEDIA)[2])
    return asked == form.caption.strip() or usual(asked.lower()) in (None, suggestions.NAME.lower())


def _caption(session: Session, medium: Medium) -> str:
    """MaMMUT's caption of a picture, or of the frame in the middle of a video."""
    return session.caption(medium[len(medium) // 2] if isinstance(medium, list) else medium)


def _is_made_up(answer: str) -> bool:
    """Whether an answer begins with a noun that no model was trained on."""
    said = answer.strip().lower().rstrip(".")
    photographed = suggestions.PHOTOGRAPHED.fullmatch(said)
    words = (photographed["name"] if photographed else said).split()
    begins = (" ".join(words[:end]) for end in range(2, len(words) + 1))
    return words[:1] in (["a"], ["an"]) and _names().isdisjoint(begins)


@cache
def _names() -> frozenset[str]:
    return frozenset(map(world.named, (*world.all_names(), *everyday_words())))
