"""What a session does with Flamingo: answers about pictures and videos, and where it looked."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice

import numpy as np
from torch import Tensor

from palm_demo.arguments import Media, Text, Texts, Whole, checked
from palm_demo.concurrency import in_line, piece, run_in_thread
from palm_demo.errors import PromptError, shown
from palm_demo.inference.attention_maps import AttentionMaps, Seen, look
from palm_demo.inference.decoding import Prefill
from palm_demo.inference.engine import without_leading_space
from palm_demo.inference.prompts import PromptForm, check_length, check_media_count
from palm_demo.inference.settings import ANSWERED, GenerationConfig
from palm_demo.media import DecodingBudget, Medium, open_medium
from palm_demo.session.loaded import READ_SIDE, Loaded, preprocessed


class FlamingoVerbs(Loaded):
    """Pictures and videos between words."""

    @checked
    def answer(
        self,
        prompt: Text,
        media: Media,
        *,
        max_new_tokens: Whole = ANSWERED.max_new_tokens,
        temperature: float = ANSWERED.temperature,
        top_k: Whole = ANSWERED.top_k,
        top_p: float = ANSWERED.top_p,
        repetition_penalty: float = ANSWERED.repetition_penalty,
        stop: Texts = (),
        seed: Whole | None = None,
    ) -> str:
        """What Flamingo says after a prompt with one `<media>` per picture or video; arguments and
        errors as in `stream_answer`."""
        deltas = self.stream_answer(
            prompt,
            media,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            repetition_penalty=repetition_penalty,
            stop=stop,
            seed=seed,
        )
        return "".join(deltas)

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
        repetition_penalty: float = ANSWERED.repetition_penalty,
        stop: Texts = (),
        seed: Whole | None = None,
        cancelled: threading.Event | None = None,
    ) -> Iterator[str]:
        """Text deltas of Flamingo's answer; greedy by default. media: pictures (PIL or paths) and
        videos (paths, or their frames as PIL pictures) in the order of their marks. stop: the answer ends
        before these, and before those of `form`. The rest as in `stream`.

        Raises ArgumentError, PromptError, MediaError or SamplingError at once, BusyError as `stream` does.
        """
        wanted = GenerationConfig(
            temperature, top_k, top_p, repetition_penalty, seed, max_new_tokens, (*stop, *self.form.stops)
        )
        ids, groups = self._interleaved(prompt, media, wanted)
        prefill = self._look_and_prefill(list(chain.from_iterable(groups)))
        return without_leading_space(self.systems.flamingo.writer.stream(ids, prefill, wanted, cancelled))

    @checked
    @in_line
    def answers(
        self, prompts: Texts, media: Sequence[Sequence[Medium]], max_new_tokens: Whole = 32
    ) -> list[str]:
        """Greedy answers to many prompts, each with its own media, decoded together. They end before the
        stops of `form`."""
        if not isinstance(media, Sequence) or len(prompts) != len(media):
            raise PromptError(
                f"there are {len(prompts)} prompts and media is {shown(media)}; give a list with a list of "
                "media for each prompt"
            )
        wanted = replace(ANSWERED, max_new_tokens=max_new_tokens, stop=self.form.stops)
        rows = [self._interleaved(prompt, some, wanted) for prompt, some in zip(prompts, media, strict=True)]
        if not rows:
            return []
        prefill = self._look_and_prefill([medium for _, groups in rows for some in groups for medium in some])
        prompt_ids = [ids for ids, _ in rows]
        return self.systems.flamingo.writer.texts(prompt_ids, prefill, wanted)

    @property
    def context(self) -> int:
        """Tokens that a Flamingo prompt and its answer may have together."""
        return self.systems.flamingo.context

    @property
    def form(self) -> PromptForm:
        """How the texts look that this Flamingo learned from."""
        return self.systems.form

    @property
    def pictures_of_video(self) -> int | None:
        """How many pictures it is shown in place of a video: 1 is the frame in its middle, of more each
        stands in a chunk of its own. None where it learned videos."""
        return None if self.systems.knows_videos else self.systems.frames

    @checked
    def prompt_length(self, prompt: Text) -> int:
        """How many of the `context` tokens a Flamingo prompt takes, each `<media>` one of them; a video that
        is shown as more than one picture takes more."""
        return len(self._prompt_ids(prompt))

    @checked
    @in_line
    @run_in_thread
    def looked_at(self, prompt: Text, media: Media, answer: Text) -> AttentionMaps:
        """Where in the media Flamingo looks for each token of an answer to a prompt, and how far its
        gates are open. media: as in `stream_answer`.

        Raises PromptError or MediaError, also on an empty answer and without media.
        """
        if not answer.strip():
            raise PromptError("the answer is empty; give the words that Flamingo said")
        tokenizer, form = self.systems.flamingo.tokenizer, self.systems.form
        said = tokenizer.encode(f"{form.gap}{answer.strip()}")
        ids, groups = self._interleaved(prompt, media, replace(ANSWERED, max_new_tokens=len(said)))
        with piece():
            gates, maps = look(self.flamingo, ids, said, list(chain.from_iterable(groups)))
        of_media = iter(maps)
        seen = [self._seen(group, list(islice(of_media, len(group)))) for group in groups]
        return AttentionMaps(tuple(tokenizer.decode([token_id]) for token_id in said), gates, tuple(seen))

    def _seen(self, group: list[Tensor], maps: list[np.ndarray]) -> Seen:
        """Of one medium, which may be shown as several pictures."""
        shown = self.flamingo.encoder.tower.shown
        frames = [frame for some in group for frame in shown(some if some.ndim == 4 else some[None])]
        return Seen(tuple(frames), np.concatenate(maps, axis=2))

    @in_line
    def _interleaved(
        self, prompt: str, media: Sequence[Medium], settings: GenerationConfig
    ) -> tuple[list[int], list[list[Tensor]]]:
        """A Flamingo prompt's ids, and what each of its media is to the model, after all checks."""
        if not prompt.strip():
            raise PromptError("the prompt is empty; write a question and a <media> per picture")
        check_media_count(prompt, len(media))
        ids = self._prompt_ids(prompt)
        check_length(len(ids), settings.max_new_tokens, self.context)
        budget = DecodingBudget(self.media_limits)
        groups = [self._as_media(medium, budget) for medium in media]
        if any(len(group) > 1 for group in groups):  # videos that are shown as pictures need more marks
            ids = self._prompt_ids(prompt, [len(group) for group in groups])
            check_length(len(ids), settings.max_new_tokens, self.context)
        return ids, groups

    def _prompt_ids(self, prompt: str, pictures: Sequence[int] = ()) -> list[int]:
        tokenizer = self.systems.flamingo.tokenizer
        return [*tokenizer.opening, *self.systems.form.encode(prompt.rstrip(), tokenizer, pictures)]

    def _as_media(self, medium: Medium, budget: DecodingBudget) -> list[Tensor]:
        """A picture (3, size, size), or a video (frames, 3, size, size); where Flamingo knows no videos,
        the frame in its middle as a picture, or so many as `pictures_of_video` says."""
        systems = self.systems
        with piece():
            frames = open_medium(medium, systems.frames, self.media_limits, budget, READ_SIDE)
            pixels = preprocessed(frames, self.flamingo.encoder.tower, systems.flamingo.device)
        if len(frames) > 1 and systems.knows_videos:
            return [pixels]
        return list(pixels)

    def _look_and_prefill(self, media: list[Tensor]) -> Prefill:
        """Flamingo's prefill, with its media looked at when it is called."""

        def prefill(ids: Tensor, lengths: Sequence[int], capacity: int):
            latents = self.flamingo.embed_media(media, ids) if media else None
            return self.flamingo.prefill(ids, lengths, capacity, latents)

        return prefill
