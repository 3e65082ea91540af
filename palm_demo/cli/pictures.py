"""The verbs about pictures: `answer`, `caption`, `classify`, `search`, and `samples` to try them on."""

import argparse
import sys
from functools import partial
from pathlib import Path

from palm_demo.cli.output import LEFT_OUT, add_gallery_option, add_verb, opened, opened_to_search, show
from palm_demo.cli.texts import add_sampling_options, sampling_of
from palm_demo.errors import MediaError, PromptError
from palm_demo.gallery.report import Report, batched, each
from palm_demo.session import ANSWERED
from palm_demo.world import write_samples

CAPTIONED_TOGETHER = 16
"""Pictures of one command that are decoded at once."""


def add_verbs(verbs) -> None:
    answer = add_verb(verbs, "answer", _answer, "ask Flamingo about pictures and videos")
    answer.add_argument("prompt", help="with one <media> mark per file")
    answer.add_argument("media", type=Path, nargs="*", help="picture and video files, in the marks' order")
    add_sampling_options(answer, ANSWERED)

    caption = add_verb(verbs, "caption", _caption, "say what MaMMUT sees in pictures")
    caption.add_argument("images", type=Path, nargs="+", metavar="image")
    caption.add_argument("--max-new-tokens", type=int, default=ANSWERED.max_new_tokens)

    classify = add_verb(verbs, "classify", _classify, "choose the label that fits a picture best")
    classify.add_argument("image", type=Path)
    classify.add_argument("labels", nargs="+", metavar="label", help="nouns, such as cat or 'red apple'")

    search = add_verb(verbs, "search", _search, "find pictures of the gallery by words or by a picture")
    search.add_argument("words", nargs="?", default="", help="what the pictures show")
    search.add_argument("--image", type=Path, help="a picture to find others like it")
    search.add_argument("--k", type=int, default=8, help="how many (8)")
    add_gallery_option(search)

    described = "draw pictures, a video and a text to try the other verbs on"
    samples = verbs.add_parser("samples", help=described, description=f"{described.capitalize()}.")
    samples.add_argument("folder", type=Path, help="where they go; what is there stays")
    samples.add_argument("--json", action="store_true", help="print one JSON document instead of lines")
    samples.set_defaults(run=_samples)


def _answer(given: argparse.Namespace) -> None:
    answer = opened(given).answer(given.prompt, given.media, **sampling_of(given))
    show(given, {"prompt": given.prompt, "answer": answer}, [answer])


def _caption(given: argparse.Namespace) -> int:
    session = opened(given)
    write = partial(session.captions, max_new_tokens=given.max_new_tokens)
    write([])  # a wrong setting is told before any picture is read
    told, failed = [], Report()
    for some in batched(given.images, CAPTIONED_TOGETHER):
        for image, caption in zip(map(str, some), each(write, some), strict=True):
            if isinstance(caption, Exception):
                failed.leave_out(image, caption)
                told.append({"image": image, "error": failed.unreadable[-1][1]})
            else:
                told.append({"image": image, "caption": caption})
    if len(told) == 1 and failed.unreadable:
        raise MediaError(told[0]["error"])  # nothing is done
    captions = [f"{one['image']}: {one['caption']}" for one in told if "caption" in one]
    show(given, told, captions if len(told) > 1 else [told[0]["caption"]])
    if not given.json:
        for image, why in failed.unreadable:
            print(f"left out: {image}: {why}", file=sys.stderr)
    return LEFT_OUT if failed.unreadable else 0


def _classify(given: argparse.Namespace) -> None:
    chances = opened(given).classify(given.image, given.labels)
    best_first = sorted(chances.items(), key=lambda of_label: -of_label[1])
    show(given, chances, [f"{chance:7.2%}  {label}" for label, chance in best_first])


def _search(given: argparse.Namespace) -> None:
    if bool(given.words.strip()) == (given.image is not None):
        raise PromptError("give either words to search for or a picture with --image")
    hits = opened_to_search(given).search(given.image or given.words, given.k)
    document = [{"score": hit.score, "caption": hit.caption} for hit in hits]
    show(given, document, [f"{hit.score:.3f}  {hit.caption}" for hit in hits])


def _samples(given: argparse.Namespace) -> None:
    try:
        paths = [str(path) for path in write_samples(given.folder)]
    except OSError as error:
        raise PromptError(
            f"no samples can be written into {given.folder}: {error.strerror}; name another folder"
        ) from error
    show(given, paths, paths)
