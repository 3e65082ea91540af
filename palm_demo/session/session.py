"""A session: PaLM, Flamingo, MaMMUT and a gallery, and the public verbs that delegate to them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from palm_demo.arguments import (
    Cancelled,
    File,
    LongText,
    Media,
    Medium,
    Picture,
    Text,
    Texts,
    Whole,
    Words,
    checked,
    joined,
)
from palm_demo.checkpoints import HIGHEST_RANK
from palm_demo.concurrency import FairQueue, locked_cached_property
from palm_demo.gallery import EVERYTHING, MEMORY, Filters, Gallery, Hit
from palm_demo.inference.attention_maps import AttentionMaps
from palm_demo.inference.lora_finetuning import Progress
from palm_demo.inference.scoring import TokenProbability
from palm_demo.inference.settings import ANSWERED, CONTINUED, FinetuningConfig, GenerationConfig
from palm_demo.media import MediaLimits
from palm_demo.models.lora import Adapter, Scope
from palm_demo.session.encoded_image import EncodedImage, PictureOrEncoded, Query
from palm_demo.session.flamingo import FlamingoPart
from palm_demo.session.loaded_models import LoadedModels
from palm_demo.session.mammut import Description, MammutPart
from palm_demo.session.palm import GivenAdapter, PalmPart
from palm_demo.session.part import Part, close
from palm_demo.session.searching import search
from palm_demo.session.seen_frames import SeenFrames
from palm_demo.session.starter_gallery import open_or_begin


class Session:
    """Three models and a gallery.

    Every mistake of a caller raises a PalmDemoError. Many threads may use one session: their texts are
    written side by side, in one batch for each model.

    Attributes:
        palm, flamingo, mammut: the parts, each with its model, tokenizer, context and limits.
    """

    def __init__(
        self,
        models: LoadedModels,
        media_limits: MediaLimits,
        gallery_place: str | Path = MEMORY,
        turns: FairQueue | None = None,
    ):
        """gallery_place: a folder, `s3://bucket/folder`, or MEMORY. turns: of all passes outside the
        batches."""
        self.models, self.media_limits, self.gallery_place = models, media_limits, gallery_place
        self.turns = turns or FairQueue()
        self.palm = PalmPart(models.palm, self.turns)
        seen, frames = SeenFrames(models.flamingo.limits.prefix_bytes), models.frames
        self.flamingo = FlamingoPart(models.flamingo, self.turns, media_limits, seen, frames, models.form)
        self.mammut = MammutPart(models.mammut, self.turns, media_limits, seen, models.ood, frames)

    @property
    def parts(self) -> dict[str, Part]:
        """The parts by name."""
        return {"palm": self.palm, "flamingo": self.flamingo, "mammut": self.mammut}

    @locked_cached_property
    def gallery(self) -> Gallery:
        """The pictures that `search` finds. A new gallery begins with scenes of the picture world that no
        model was trained on. Raises GalleryError if `gallery_place` cannot be used."""
        return open_or_begin(self.gallery_place, self.mammut)

    @property
    def about(self) -> dict[str, dict[str, str | int]]:
        """Name, parameters, trained_on, knows and licence of each part."""
        return {name: part.about for name, part in self.parts.items()}

    @property
    def bundled(self) -> bool:
        """Whether all weights are those that come with the package."""
        return all(part.bundled for part in self.parts.values())

    def close(self, grace_seconds: float = 0.0) -> None:
        """Ends the session. It accepts no more requests, and running ones have grace_seconds together;
        those that take longer raise ClosingError. Returns when nothing is being written."""
        close([*self.parts.values()], self.turns, grace_seconds)

    @property
    def scopes(self) -> list[str]:
        """Names of the LoRA scopes that `generate` can use."""
        return self.palm.scopes

    @checked
    def stream(
        self,
        prompt: Text,
        scope: Scope = None,
        *,
        max_new_tokens: Whole = CONTINUED.max_new_tokens,
        temperature: float = CONTINUED.temperature,
        top_k: Whole = CONTINUED.top_k,
        top_p: float = CONTINUED.top_p,
        min_p: float = CONTINUED.min_p,
        repetition_penalty: float = CONTINUED.repetition_penalty,
        stop: Texts = (),
        seed: Whole | None = None,
        cancelled: Cancelled = None,
    ) -> Iterator[str]:
        """Continues a prompt with PaLM, and yields the text in pieces.

        A text that has to wait first yields empty pieces, `QueuePosition`, with its place in the
        queue.

        Args:
            prompt: the beginning of a text.
            scope: its name, an adapter of `load_adapter` or `finetune`, a mix of these such as
                {"carroll": 0.7, "poe": 0.5} (below 0 is the opposite), or None for the base model.
            max_new_tokens: the most tokens; prompt and answer have to fit `palm.context`.
            temperature: 0 takes the likeliest token, 1 samples as learned.
            top_k: samples among this many of the likeliest; 0 for all.
            top_p: samples among the likeliest with this probability together; 1 for all.
            min_p: leaves out tokens less likely than this fraction of the likeliest; 0 for none.
            repetition_penalty: above 1 makes tokens that occurred less likely.
            stop: the text ends before any of these.
            seed: gives the same text each time; None another each time.
            cancelled: once set, the text ends before its next token.

        Raises:
            ArgumentError, PromptError, ScopeError, SamplingError: at once.
            BusyError: in place of the first piece, when the queue is full.
        """
        config = GenerationConfig(
            temperature, top_k, top_p, min_p, repetition_penalty, seed, max_new_tokens, tuple(stop)
        )
        return self.palm.stream(prompt, scope, config, cancelled)

    generate = joined(stream, "generate", "The prompt's continuation by PaLM; arguments as in `stream`.")

    @checked
    def bits_per_byte(self, text: LongText, scope: Scope = None) -> float:
        """How well PaLM predicts a text: bits per UTF-8 byte of its plain form; lower is better. Raises
        PromptError for a text that is empty or longer than LONG_TEXT_BYTES, ScopeError."""
        return self.palm.bits_per_byte(text, scope)

    @checked
    def who_wrote(self, text: Text) -> dict[str, float]:
        """The probability of each scope that its author wrote the text, if one of them did. They sum to 1.
        Raises PromptError for a text that is empty or longer than TEXT_BYTES, and ScopeError with fewer than
        two scopes."""
        return self.palm.who_wrote(text)

    @checked
    def token_probabilities(self, text: Text, scope: Scope = None) -> list[TokenProbability]:
        """The probability of each token of a text after those before it, and the five likeliest instead.
        Raises PromptError for a text that is empty or longer than TEXT_BYTES, ScopeError."""
        return self.palm.token_probabilities(text, scope)

    @checked
    def finetune(
        self,
        text: LongText,
        *,
        rank: Whole = FinetuningConfig.rank,
        steps: Whole = FinetuningConfig.steps,
        seconds: float = FinetuningConfig.seconds,
        learning_rate: float = FinetuningConfig.learning_rate,
        batch: Whole = FinetuningConfig.batch,
        window: Whole = FinetuningConfig.window,
        eval_steps: Whole = FinetuningConfig.eval_steps,
        patience: Whole = FinetuningConfig.patience,
        seed: Whole = FinetuningConfig.seed,
        cancelled: Cancelled = None,
    ) -> Iterator[Progress]:
        """Trains a LoRA adapter on a text, while other texts go on being written.

        It yields Progress before the first step and after each, with the best adapter so far, a scope.

        Args:
            text: the training text.
            rank: of the adapter.
            steps, seconds: training ends after whichever comes first.
            learning_rate: of Adam.
            batch, window: windows of the text in a step, and their tokens.
            eval_steps, patience: the held-out end of the text is evaluated every `eval_steps` steps;
                training ends after `patience` evaluations without a better result.
            seed: of the adapter and of the order of the windows.
            cancelled: once set, the training ends.

        Raises:
            ArgumentError, FinetuningError: at once, for a text too short or wrong settings.
            PromptError: at once, for a text longer than LONG_TEXT_BYTES.
        """
        config = FinetuningConfig(
            rank, steps, seconds, learning_rate, batch, window, eval_steps, patience, seed
        )
        return self.palm.finetune(text, config, cancelled)

    @checked
    def save_adapter(self, adapter: GivenAdapter, path: File) -> None:
        """Writes an adapter as a safetensors file that `load_adapter` takes. Raises ScopeError for an
        adapter of a PaLM of other widths, and CheckpointError where no file can be written."""
        self.palm.save_adapter(adapter, path)

    @checked
    def load_adapter(self, path: File, highest_rank: Whole = HIGHEST_RANK) -> Adapter:
        """Reads an adapter from a file, which may come from anywhere. Raises CheckpointError if it does not
        belong to this PaLM or its rank is higher."""
        return self.palm.load_adapter(path, highest_rank)

    @checked
    def stream_answer(
        self,
        prompt: Text,
        media: Media,
        *,
        max_new_tokens: Whole = ANSWERED.max_new_tokens,
        temperature: float = ANSWERED.temperature,
        top_k: Whole = ANSWERED.top_k,
        top_p: float = ANSWERED.top_p,
        min_p: float = ANSWERED.min_p,
        repetition_penalty: float = ANSWERED.repetition_penalty,
        stop: Texts = (),
        choices: Texts = (),
        seed: Whole | None = None,
        cancelled: Cancelled = None,
    ) -> Iterator[str]:
        """Answers a prompt with Flamingo, and yields the text in pieces.

        Args:
            prompt: a question such as "is there a cat?", or any text with one `<media>` per medium.
            media: pictures (PIL or paths) and videos (paths, or their frames as PIL pictures), in the order
                of their `<media>`.
            max_new_tokens, temperature, top_k, top_p, min_p, repetition_penalty, seed, cancelled: as in
                `stream`, but by default the likeliest tokens are taken.
            stop: the answer ends before any of these, and before those of `flamingo.form`.
            choices: the answer is one of these in its plain form, such as ("yes", "no") or words that the
                prompt teaches; none for any answer.

        Raises:
            ArgumentError, PromptError, MediaError, SamplingError: at once.
            BusyError: in place of the first piece, when the queue is full.
        """
        config = GenerationConfig(
            temperature,
            top_k,
            top_p,
            min_p,
            repetition_penalty,
            seed,
            max_new_tokens,
            tuple(stop),
            tuple(choices),
        )
        return self.flamingo.stream_answer(prompt, media, config, cancelled)

    answer = joined(stream_answer, "answer", "Flamingo's answer; arguments as in `stream_answer`.")

    @checked
    def answers(
        self,
        prompts: Texts,
        media: Sequence[Sequence[Medium]],
        max_new_tokens: Whole = ANSWERED.max_new_tokens,
    ) -> list[str]:
        """Flamingo's likeliest answers to many prompts, each with its own media, decoded together. Raises
        PromptError, MediaError."""
        return self.flamingo.answers(prompts, media, max_new_tokens)

    @checked
    def prompt_length(self, prompt: Text) -> int:
        """The number of tokens of `flamingo.context` that a prompt takes. Each `<media>` is one token; a
        video that is shown as more than one picture takes more."""
        return self.flamingo.prompt_length(prompt)

    @checked
    def attention_maps(self, prompt: Text, media: Media, answer: Text) -> AttentionMaps:
        """Flamingo's attention to the media for each token of an answer, and how open its gates are. Raises
        PromptError, also for an empty answer and without media, and MediaError."""
        return self.flamingo.attention_maps(prompt, media, answer)

    @checked
    def opened(self, media: Media) -> list[Medium]:
        """Decodes the media of a request once, for all verbs that take media. Each becomes a picture, or a
        list of a video's frames. Raises MediaError for the first that cannot be read."""
        return self.flamingo.opened(media)

    @checked
    def opened_image(self, image: Picture) -> Image.Image:
        """Opens a picture as the models read it: upright, in sRGB, on white, at most READ_SIDE wide and
        high."""
        return self.mammut.opened_image(image)

    @checked
    def encode_image(self, image: Picture) -> EncodedImage:
        """Encodes a picture once for several verbs. `describe`, `caption`, `caption_alternatives`, `classify`
        and `search` take the result in the picture's place. Raises MediaError."""
        return self.mammut.encode_image(image)

    @checked
    def caption(self, image: PictureOrEncoded, max_new_tokens: Whole = ANSWERED.max_new_tokens) -> str:
        """MaMMUT's caption of a picture. Raises MediaError, PromptError for too many tokens, BusyError."""
        return self.mammut.caption(image, max_new_tokens)

    @checked
    def captions(self, images: Media, max_new_tokens: Whole = ANSWERED.max_new_tokens) -> list[str]:
        """One caption per picture, decoded together. Raises MediaError, PromptError."""
        return self.mammut.captions(images, max_new_tokens)

    @checked
    def caption_alternatives(
        self, image: PictureOrEncoded, count: Whole = 5, max_new_tokens: Whole = ANSWERED.max_new_tokens
    ) -> dict[str, float]:
        """At most `count` captions, the likeliest first -> the probability of each among all there could be;
        none below 1 %. Raises MediaError, PromptError."""
        return self.mammut.caption_alternatives(image, count, max_new_tokens)

    @checked
    def describe(
        self, image: PictureOrEncoded, count: Whole = 5, max_new_tokens: Whole = ANSWERED.max_new_tokens
    ) -> Description:
        """A picture's caption and the results of `caption_alternatives`, decoded together. Raises MediaError,
        PromptError."""
        return self.mammut.describe(image, count, max_new_tokens)

    @checked
    def embed_images(self, images: Media) -> np.ndarray:
        """Unit embeddings of pictures, (n, d) float32, comparable with those of `embed_texts`. Raises
        MediaError."""
        return self.mammut.embed_images(images)

    @checked
    def embed_and_caption(self, images: Media) -> tuple[np.ndarray, list[str]]:
        """Embeddings and captions of pictures, from one pass of the vision tower. Raises MediaError."""
        return self.mammut.embed_and_caption(images)

    @checked
    def embed_texts(self, texts: Texts) -> np.ndarray:
        """Unit embeddings of texts, (n, d) float32. Raises PromptError for a text that is empty or too
        long."""
        return self.mammut.embed_texts(texts)

    @checked
    def classify(self, image: PictureOrEncoded, labels: Texts) -> dict[str, float]:
        """The probability of each label to name the picture, and of "none of these" that no label does.
        They sum to 1. Raises MediaError, PromptError."""
        return self.mammut.classify(image, labels)

    @checked
    def similarity(self, texts: Texts, images: Media) -> np.ndarray:
        """Cosines of the embeddings of texts and pictures, (texts, images), -1 to 1. Raises MediaError,
        PromptError."""
        return self.mammut.similarity(texts, images)

    @checked
    def ood_score(self, medium: Medium) -> float | None:
        """The out-of-distribution score of a picture, or of the most usual frame of a video: 0 to 1. It is
        the fraction of pictures like those of the training that look more usual. Above
        OUT_OF_DISTRIBUTION, what the models say about the picture means little. None if there is no
        detector. Raises MediaError."""
        return self.mammut.ood_score(medium)

    @checked
    def search(
        self, query: Query, k: Whole = 8, *, words: Words = "", filters: Filters = EVERYTHING
    ) -> list[Hit]:
        """The k pictures of the gallery that fit a query best, best first; a bare noun will do.

        Args:
            query: words (str), or a picture: a Path, bytes, a PIL picture, an array or what
                `encode_image` gave.
            words: looked for in captions too; beside a picture also in what pictures show.
            filters: which pictures may be found at all.

        Raises PromptError, also for words longer than WORDS_BYTES, MediaError, and GalleryError where the
        gallery cannot be read.
        """
        return search(self, query, k, words, filters)
