"""The named endpoints for `gradio_client`. Nothing else of the page is public."""

import os
from collections.abc import Iterator
from dataclasses import asdict
from itertools import accumulate
from pathlib import Path
from random import Random

import gradio as gr

from palm_demo import world
from palm_demo.errors import GalleryError, MediaError, PromptError
from palm_demo.gallery import Hit
from palm_demo.inference.attention_maps import AttentionMaps
from palm_demo.internals.gradio_files import file_data, image_file_data, upload_folder
from palm_demo.session import ANSWERED, CONTINUED, Session
from palm_demo.settings import Limits
from palm_demo.ui.boundary.visitors import owner_of
from palm_demo.ui.flamingo.scenes import make
from palm_demo.ui.mammut.contributing import Contributions, download_of
from palm_demo.ui.messages import in_api
from palm_demo.ui.palm.tokens import check_viewed
from palm_demo.ui.uploads import (
    check_filters,
    check_hits,
    check_labels,
    check_media,
    check_new_tokens,
    check_prompt,
    check_texts,
    check_words,
)


def add_endpoints(session: Session, limits: Limits) -> None:
    """Adds all of them to the current Blocks."""

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
        """PaLM's continuation of a prompt, in a scope, in a mix of scopes with their strengths, such as
        {"carroll": 0.7, "poe": 0.5}, or by the base model: the text so far,
        as it grows."""
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
        media: list[dict],
        max_new_tokens: int = ANSWERED.max_new_tokens,
        temperature: float = ANSWERED.temperature,
        top_k: int = ANSWERED.top_k,
        top_p: float = ANSWERED.top_p,
        repetition_penalty: float = ANSWERED.repetition_penalty,
        stop: list[str] | None = None,
        seed: int | None = None,
        min_p: float = ANSWERED.min_p,
    ) -> Iterator[str]:
        """Flamingo's answer to a prompt with one <media> mark per picture or video file: the text so far, as
        it grows."""
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
                seed=seed,
            )
            yield from accumulate(deltas)

    def attention_maps(prompt: str, media: list[dict], answer: str) -> dict:
        """Where Flamingo looked when it gave an answer to a prompt with one <media> mark per file.

        tokens: of the answer. gates: layer, attention and feed_forward of each bridge, -1 to 1. media: of
        each file its `shares`, what part of each token's attention it got, and its `maps`, per token,
        frame, row and column, where that went; all maps of a token sum to 1.
        """
        with in_api():
            files = [uploaded(file) for file in check_media(media, limits)]
            check_prompt(f"{prompt} {answer}", limits)
            return _told(session.attention_maps(str(prompt), files, str(answer)))

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
        """A picture or short video of things the models know: file, caption and a question about it.

        name: a noun of the picture world. count: 1 to 5 of it. other: a second thing, to which the first
        stands "left", "right", "above" or "below" (relation). way: left, right, up, down, grows or shrinks
        makes a video. color: of the background. style: of the drawing. The same seed draws the same scene.
        """
        with in_api():
            wanted = [None if word is None else str(word) for word in (other, relation, way, color, style)]
            rng = Random() if seed is None else Random(str(seed))
            made = make(world.SceneSpec(str(name), count, *wanted), rng, session.turns)
            file = file_data(made.path)
            return {"file": file, "caption": made.caption, "question": made.question}

    def caption(image: dict, max_new_tokens: int = 32) -> str:
        """What MaMMUT sees in a picture file."""
        with in_api():
            return session.caption(uploaded(image), check_new_tokens(max_new_tokens, limits))

    def classify(image: dict, labels: list[str]) -> dict:
        """Label -> probability that it names the picture file; "none of these" -> that none does."""
        with in_api():
            return session.classify(uploaded(image), check_labels(labels, limits))

    def search(
        query: str | dict, k: int = 8, words: str = "", contains: str = "", since: str = ""
    ) -> list[dict]:
        """The k gallery pictures that fit words or a picture file best: id, name, caption, score, alike and
        image of each. alike is false where none is like the words, and these are the nearest.

        words: looked for in the captions too. contains: only captions that have this. since: only
        pictures added since then, such as 2026-01-31.
        """
        with in_api():
            wanted = check_prompt(query, limits) if isinstance(query, str) else uploaded(query)
            filters = check_filters(contains, since, limits)
            hits = session.search(
                wanted, check_hits(k, limits), words=check_words(words, limits), filters=filters
            )
            return [_found(hit) for hit in hits]

    def scopes() -> list[str]:
        """Names of the scopes that `generate` takes."""
        return session.scopes

    for endpoint in (generate, answer, caption, classify, search, attention_maps, make_scene):
        gr.api(endpoint, concurrency_limit=None)  # texts wait in their model's batch, passes in the session
    gr.api(scopes, queue=False)
    add_palm_endpoints(session, limits)


def uploaded(file: dict) -> Path:
    """The path of a file that came with the call; MediaError for anything else on this machine."""
    path = (
        os.path.realpath(file["path"]) if isinstance(file, dict) and isinstance(file.get("path"), str) else ""
    )
    if not path.startswith(os.path.realpath(upload_folder()) + os.sep):
        raise MediaError("a medium is not an uploaded file; send it with gradio_client.handle_file")
    return Path(path)


def _told(looked: AttentionMaps) -> dict:
    tokens, media = range(len(looked.tokens)), range(len(looked.media))
    return {
        "tokens": list(looked.tokens),
        "gates": [asdict(gate) for gate in looked.gates],
        "media": [
            {
                "shares": [looked.media_shares(token)[medium] for token in tokens],
                "maps": [looked.map(token, medium).tolist() for token in tokens],
            }
            for medium in media
        ],
    }


def _found(hit: Hit) -> dict:
    image = image_file_data(hit.image)
    told = {name: getattr(hit, name) for name in ("id", "name", "caption", "score", "alike")}
    return {**told, "image": image}


def add_palm_endpoints(session: Session, limits: Limits) -> None:
    """Adds bits_per_byte, who_wrote and token_probabilities to the current Blocks."""

    def bits_per_byte(text: str, scope: str | dict[str, float] | None = None) -> float:
        """How well PaLM predicts a text, in a scope, a mix of scopes with their strengths or by the base
        model: bits over its UTF-8 bytes, lower is better."""
        with in_api():
            return session.bits_per_byte(check_prompt(text, limits), scope)

    def who_wrote(text: str) -> dict:
        """Scope -> probability that its author wrote the text, if one of them did."""
        with in_api():
            return session.who_wrote(check_prompt(text, limits))

    def token_probabilities(text: str, scope: str | dict[str, float] | None = None) -> list[dict]:
        """Each token of a text: its text, its probability after those before it, and the five likeliest
        alternatives as pairs of text and probability."""
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

    for endpoint in (bits_per_byte, who_wrote, token_probabilities):
        gr.api(endpoint, concurrency_limit=None)


def add_gallery_endpoints(session: Session, limits: Limits, contributions: Contributions) -> None:
    """Adds caption_alternatives, similarity, gallery_info, gallery_add, gallery_remove and
    gallery_export to the current Blocks."""

    def caption_alternatives(image: dict, count: int = 5) -> dict:
        """The likeliest captions of a picture file -> how probable MaMMUT finds each."""
        with in_api():
            return session.caption_alternatives(uploaded(image), count)

    def similarity(texts: list[str], images: list[dict]) -> list[list[float]]:
        """For each text its cosine with each picture file, -1 to 1."""
        with in_api():
            pictures = [uploaded(image) for image in check_media(images, limits)]
            return session.similarity(check_texts(texts, limits), pictures).tolist()

    def gallery_info() -> dict:
        """How many pictures the gallery has, which weights made their latents, and whether visitors
        may add some."""
        with in_api():
            return {
                "pictures": len(session.gallery),
                "weights": session.mammut.fingerprint,
                "visitors_add": contributions.rules.visitors,
            }

    def gallery_add(images: list[dict], request: gr.Request) -> dict:
        """Adds picture files to the gallery, where its owner allows that: ids of those added, how many
        were there already or look like one that is, and why others could not be read."""
        with in_api():
            files = [uploaded(image) for image in check_media(images, limits)]
            *_, report = contributions.add(owner_of(request), files)
            return {
                "added": report.added,
                "copies": len(report.known) + len(report.near),
                "unreadable": dict(report.unreadable),
            }

    def gallery_remove(ids: list[str], request: gr.Request) -> int:
        """Removes pictures that this client has added; how many."""
        with in_api():
            return contributions.remove(owner_of(request), check_ids(ids, limits))

    def gallery_export(ids: list[str]) -> dict:
        """A ZIP file of pictures by their ids, as `search` gives them, and a Parquet table of the rest."""
        with in_api():
            return file_data(download_of(session, check_ids(ids, limits)))

    of_pictures, of_gallery = (caption_alternatives, similarity), (gallery_info, gallery_add, gallery_remove)
    for endpoint in (*of_pictures, *of_gallery, gallery_export):
        gr.api(endpoint, concurrency_limit=None)  # the session has the line


def check_ids(ids: list[str], limits: Limits) -> list[str]:
    """Ids of the gallery; GalleryError when there are none or more than one search finds."""
    if not isinstance(ids, list) or not all(isinstance(id, str) and len(id) <= 64 for id in ids):
        raise PromptError("ids is not a list of ids; give those that `search` gives")
    if not 1 <= len(ids) <= limits.hits:
        raise GalleryError(f"{len(ids)} pictures were named; name 1 to {limits.hits}")
    return ids
