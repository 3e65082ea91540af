"""The API endpoints of the models, for `gradio_client`. Other events of the page are private."""

import os
from collections.abc import Iterator
from dataclasses import asdict
from itertools import accumulate
from pathlib import Path
from random import Random

from palm_demo import world
from palm_demo.errors import MediaError
from palm_demo.gallery import Hit
from palm_demo.inference.attention_maps import AttentionMaps
from palm_demo.internals.gradio_endpoints import PICTURE, FilePath, endpoint
from palm_demo.internals.gradio_files import file_data, image_file_data, upload_folder
from palm_demo.session import ANSWERED, CONTINUED, Session
from palm_demo.settings import Limits
from palm_demo.ui.flamingo.scenes import draw_scene
from palm_demo.ui.messages import in_api
from palm_demo.ui.palm.tokens import check_viewed
from palm_demo.ui.uploads import (
    NOTHING_SOUGHT,
    check_filters,
    check_hits,
    check_labels,
    check_media,
    check_new_tokens,
    check_prompt,
    check_words,
)

EXAMPLES = {
    "prompt": "It was a dark night, and",
    "text": "It was the best of times, it was the worst of times.",
    "name": "cat",
    "image": PICTURE,
    "images": [PICTURE],
    "media": [PICTURE],
    "labels": ["cat", "dog", "red apple"],
    "query": "a fox on a blue background",
    "answer": "yes",
    "texts": ["a cat", "a dog"],
    "ids": ["0" * 64],
}
"""Parameter -> example value in snippets. `palm-demo samples samples` draws the picture."""
QUESTION = {"prompt": "Is there a cat?"}
"""The example for endpoints whose prompt is a question."""


def add_endpoints(session: Session, limits: Limits) -> None:
    """Adds the endpoints of the three models to the current Blocks."""

    def generate(
        prompt: str,
        scope: str | dict[str, float] | None = None,
        max_new_tokens: int = CONTINUED.max_new_tokens,
        temperature: float = CONTINUED.temperature,
        top_k: int = CONTINUED.top_k,
        top_p: float = CONTINUED.top_p,
        repetition_penalty: float = CONTINUED.repetition_penalty,
        stop: list[str] | None = None,
        seed: int | None = None,
        min_p: float = CONTINUED.min_p,
    ) -> Iterator[str]:
        """PaLM's continuation of a prompt. Yields the text so far, as it grows.

        Args:
            prompt: the beginning of a text.
            scope: one that `scopes` lists, a mix such as {"carroll": 0.7, "poe": 0.5}, or null for none.
            max_new_tokens: the most new tokens; a word is one or two.
            temperature: 0 takes the likeliest token, 1 samples from the learned probabilities.
            top_k: samples only from this number of the likeliest tokens; 0 is all.
            top_p: samples only from the likeliest tokens that have this probability together; 1 is all.
            min_p: leaves out tokens less likely than this part of the likeliest one; 0 leaves out none.
            repetition_penalty: above 1 makes tokens that are in the text already less likely.
            stop: the text ends before any of these.
            seed: an integer gives the same text each time; null gives another each time.
        """
        with in_api():
            deltas = session.stream(
                check_prompt(prompt, limits),
                scope,
                max_new_tokens=check_new_tokens(max_new_tokens, limits),
                temperature=temperature,
                top_k=top_k,
                top_p=top_p,
                min_p=min_p,
                repetition_penalty=repetition_penalty,
                stop=() if stop is None else stop,
                seed=seed,
            )
            yield from accumulate(deltas)

    def answer(
        prompt: str,
        media: list[FilePath],
        max_new_tokens: int = ANSWERED.max_new_tokens,
        temperature: float = ANSWERED.temperature,
        top_k: int = ANSWERED.top_k,
        top_p: float = ANSWERED.top_p,
        repetition_penalty: float = ANSWERED.repetition_penalty,
        stop: list[str] | None = None,
        seed: int | None = None,
        min_p: float = ANSWERED.min_p,
        choices: list[str] | None = None,
    ) -> Iterator[str]:
        """Flamingo's answer to a question about pictures and videos. Yields the text so far, as it grows.

        Args:
            prompt: a question such as "Is there a cat?", or a text with a <media> mark for each file.
            media: picture and video files, in the order of their marks; assistants can also give data: URIs.
            max_new_tokens: the most new tokens; a word is one or two.
            temperature: 0 takes the likeliest token, 1 samples from the learned probabilities.
            top_k: samples only from this number of the likeliest tokens; 0 is all.
            top_p: samples only from the likeliest tokens that have this probability together; 1 is all.
            min_p: leaves out tokens less likely than this part of the likeliest one; 0 leaves out none.
            repetition_penalty: above 1 makes tokens that are in the text already less likely.
            stop: the answer ends before any of these.
            seed: an integer gives the same answer each time; null gives another each time.
            choices: the answer is one of these; null is any answer.
        """
        with in_api():
            deltas = session.stream_answer(
                check_prompt(prompt, limits),
                [uploaded(file) for file in check_media(media, limits)],
                max_new_tokens=check_new_tokens(max_new_tokens, limits),
                temperature=temperature,
                top_k=top_k,
                top_p=top_p,
                min_p=min_p,
                repetition_penalty=repetition_penalty,
                stop=() if stop is None else stop,
                choices=() if choices is None else choices,
                seed=seed,
            )
            yield from accumulate(deltas)

    def attention_maps(prompt: str, media: list[FilePath], answer: str) -> dict:
        """Flamingo's attention to each file for an answer to a prompt with one <media> mark per file.

        The result has `tokens`: those of the answer; `gates`: layer, attention and feed_forward of each
        cross-attention layer, -1 to 1; and `media`: for each file its `shares`, the part of each token's
        attention that it got, and its `maps` by token, frame, row and column. All maps of a token sum to 1.

        Args:
            prompt: the question, as for `answer`.
            media: picture and video files, in the order of their marks; assistants can also give data: URIs.
            answer: the text that was answered.
        """
        with in_api():
            files = [uploaded(file) for file in check_media(media, limits)]
            check_prompt(f"{prompt} {answer}", limits)
            return _as_json(session.attention_maps(str(prompt), files, str(answer)))

    def make_scene(
        name: str,
        count: int = 1,
        other: str | None = None,
        relation: str = "left",
        way: str | None = None,
        color: str | None = None,
        style: str | None = None,
        seed: int | None = None,
    ) -> dict:
        """Draws a picture or short video of things the models know. Gives its file, a caption and a question.

        Args:
            name: one of the things that `nouns` lists.
            count: how many of it, 1 to 5.
            other: a second thing, or null for none.
            relation: where the first thing is beside the other: left, right, above or below.
            way: left, right, up, down, grows or shrinks makes a video; null makes a picture.
            color: of the background, one of those that `nouns` lists; null is any.
            style: of the drawing, one of those that `nouns` lists; null is any.
            seed: an integer draws the same scene each time; null draws another each time.
        """
        with in_api():
            wanted = [None if word is None else str(word) for word in (other, relation, way, color, style)]
            rng = Random() if seed is None else Random(str(seed))
            drawn = draw_scene(world.SceneSpec(str(name), count, *wanted), rng, session.turns)
            file = file_data(drawn.path)
            return {"file": file, "caption": drawn.caption, "question": drawn.question}

    def caption(image: FilePath, max_new_tokens: int = 32) -> str:
        """MaMMUT's caption of a picture file.

        Args:
            image: a picture file; assistants give the path of an upload or a data: URI.
            max_new_tokens: the most new tokens; a word is one or two.
        """
        with in_api():
            return session.caption(uploaded(image), check_new_tokens(max_new_tokens, limits))

    def classify(image: FilePath, labels: list[str]) -> dict:
        """Label -> probability that it names the picture file; "none of these" -> that none does.

        Args:
            image: a picture file; assistants give the path of an upload or a data: URI.
            labels: nouns, such as cat or red apple.
        """
        with in_api():
            return session.classify(uploaded(image), check_labels(labels, limits))

    def search(
        query: str | FilePath, k: int = 8, words: str = "", contains: str = "", since: str = ""
    ) -> list[dict]:
        """The k gallery pictures that fit words or a picture file best, each with id, name, caption, score,
        alike and image. alike is false if no picture is like the words and these are only the nearest.

        Args:
            query: words, or a picture file; assistants can also give a data: URI.
            k: how many pictures.
            words: searched for too, together with a picture or in the captions.
            contains: only pictures whose caption has these words.
            since: only pictures added since this date, such as 2026-01-31.
        """
        with in_api():
            wanted = (
                check_prompt(query, limits, NOTHING_SOUGHT) if isinstance(query, str) else uploaded(query)
            )
            filters = check_filters(contains, since, limits)
            hits = session.search(
                wanted, check_hits(k, limits), words=check_words(words, limits), filters=filters
            )
            return [_hit_as_json(hit) for hit in hits]

    def scopes() -> list[str]:
        """Names of the scopes that `generate` takes."""
        return session.scopes

    def nouns() -> dict:
        """What `make_scene` can draw: things that the models know, things that they have never seen, colours
        of the background, and styles."""
        colors, styles = list(world.COLORS), list(world.STYLES)
        return {"known": world.concepts(), "never_seen": world.unseen(), "colors": colors, "styles": styles}

    queued = (generate, answer, caption, classify, search, attention_maps, make_scene)
    for function in queued:  # the session has the queues, so Gradio needs none
        question = QUESTION if function in (answer, attention_maps) else {}
        endpoint(function, EXAMPLES | question, concurrency_limit=None)
    endpoint(scopes, EXAMPLES, queue=False)
    endpoint(nouns, EXAMPLES, queue=False)
    add_palm_endpoints(session, limits)


def uploaded(file: dict) -> Path:
    """The path of an uploaded file. Raises MediaError for any other value or path."""
    path = (
        os.path.realpath(file["path"]) if isinstance(file, dict) and isinstance(file.get("path"), str) else ""
    )
    if not path.startswith(os.path.realpath(upload_folder()) + os.sep):
        raise MediaError("a medium is not an uploaded file; send it with gradio_client.handle_file")
    return Path(path)


def _as_json(maps: AttentionMaps) -> dict:
    tokens, media = range(len(maps.tokens)), range(len(maps.media))
    return {
        "tokens": list(maps.tokens),
        "gates": [asdict(gate) for gate in maps.gates],
        "media": [
            {
                "shares": [maps.media_shares(token)[medium] for token in tokens],
                "maps": [maps.map(token, medium).tolist() for token in tokens],
            }
            for medium in media
        ],
    }


def _hit_as_json(hit: Hit) -> dict:
    image = image_file_data(hit.image)
    fields = {name: getattr(hit, name) for name in ("id", "name", "caption", "score", "alike")}
    return {**fields, "image": image}


def add_palm_endpoints(session: Session, limits: Limits) -> None:
    """Adds bits_per_byte, who_wrote and token_probabilities to the current Blocks."""

    def bits_per_byte(text: str, scope: str | dict[str, float] | None = None) -> float:
        """How well PaLM predicts a text, in bits per byte of UTF-8; lower is better.

        Args:
            text: of any kind.
            scope: one that `scopes` lists, a mix such as {"carroll": 0.7, "poe": 0.5}, or null for none.
        """
        with in_api():
            return session.bits_per_byte(check_prompt(text, limits), scope)

    def who_wrote(text: str) -> dict:
        """Scope -> probability that its author wrote the text, if one of the authors did.

        Args:
            text: a few sentences or more.
        """
        with in_api():
            return session.who_wrote(check_prompt(text, limits))

    def token_probabilities(text: str, scope: str | dict[str, float] | None = None) -> list[dict]:
        """Each token of a text: its text, its probability after those before it, and the five likeliest
        alternatives as pairs of text and probability.

        Args:
            text: of any kind.
            scope: one that `scopes` lists, a mix such as {"carroll": 0.7, "poe": 0.5}, or null for none.
        """
        with in_api():
            tokens = session.token_probabilities(check_viewed(text, limits), scope)
            return [
                {
                    "text": token.text,
                    "probability": token.probability,
                    "alternatives": [list(other) for other in token.alternatives],
                }
                for token in tokens
            ]

    for function in (bits_per_byte, who_wrote, token_probabilities):
        endpoint(function, EXAMPLES, concurrency_limit=None)
