"""What a session does with Flamingo: answers about pictures and videos, and where it looked."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace

from torch import Tensor

from palm_demo.errors import PromptError
from palm_demo.generation import TextSettings
from palm_demo.generation.stream import Prefill
from palm_demo.looking import LookedAt, Seen, look
from palm_demo.media import Medium
from palm_demo.prompting import check_length, check_media_count, encode_interleaved
from palm_demo.session.loaded import ANSWERED, Loaded
from palm_demo.threads import apart
from palm_demo.writing import without_leading_space


class FlamingoVerbs(Loaded):
    """Pictures and videos between words."""

    def answer(self, prompt: str, media: Sequence[Medium], **settings) -> str:
        """What Flamingo says after a prompt with one `<media>` per picture or video; settings as
        in `stream_answer`."""
        return "".join(self.stream_answer(prompt, media, **settings))

    def stream_answer(
        self,
        prompt: str,
        media: Sequence[Medium],
        *,
        cancelled: threading.Event | None = None,
        **settings,
    ) -> Iterator[str]:
        """Text deltas of Flamingo's answer; greedy by default. media: pictures (PIL or paths) and
        videos (paths, or their frames as PIL pictures) in the order of their marks. The rest as in
        `stream`, settings by default those of ANSWERED.

        Raises PromptError, MediaError or SamplingError at once, BusyError as `stream` does.
        """
        wanted = replace(ANSWERED, **settings)
        ids, pixels = self._interleaved(prompt, media, wanted)
        prefill = self._look_and_prefill(pixels)
        return without_leading_space(self.writers["flamingo"].stream(ids, prefill, wanted, cancelled))

    def answers(
        self, prompts: Sequence[str], media: Sequence[Sequence[Medium]], max_new_tokens: int = 32
    ) -> list[str]:
        """Greedy answers to many prompts, each with its own media, decoded together."""
        wanted = replace(ANSWERED, max_new_tokens=max_new_tokens)
        rows = [self._interleaved(prompt, some, wanted) for prompt, some in zip(prompts, media, strict=True)]
        if not rows:
            return []
        prefill = self._look_and_prefill([medium for _, media in rows for medium in media])
        prompt_ids = [ids for ids, _ in rows]
        return self.writers["flamingo"].texts(prompt_ids, prefill, wanted)

    def prompt_length(self, prompt: str) -> int:
        """How many of the `context` tokens a Flamingo prompt takes, each `<media>` one of them."""
        return len(self._prompt_ids(prompt))

    @apart
    def looked_at(self, prompt: str, media: Sequence[Medium], answer: str) -> LookedAt:
        """Where in the media Flamingo looks for each token of an answer to a prompt, and how far its
        gates are open. media: as in `stream_answer`.

        Raises PromptError or MediaError, also on an empty answer and without media.
        """
        if not answer.strip():
            raise PromptError("the answer is empty; give the words that Flamingo said")
        said = self.tokenizer.encode(f" {answer.strip()}")
        ids, pixels = self._interleaved(prompt, media, replace(ANSWERED, max_new_tokens=len(said)))
        gates, maps = look(self.flamingo, ids, said, pixels)
        shown = self.mammut.tower.shown
        frames = [shown(medium if medium.ndim == 4 else medium[None]) for medium in pixels]
        return LookedAt(
            tuple(self.tokenizer.decode([token_id]) for token_id in said),
            gates,
            tuple(Seen(tuple(some), of_medium) for some, of_medium in zip(frames, maps, strict=True)),
        )

    def _interleaved(
        self, prompt: str, media: Sequence[Medium], settings: TextSettings
    ) -> tuple[list[int], list[Tensor]]:
        """A Flamingo prompt's ids and its media's frames, after all checks."""
        if not prompt.strip():
            raise PromptError("the prompt is empty; write a question and a <media> per picture")
        check_media_count(prompt, len(media))
        ids = self._prompt_ids(prompt)
        check_length(len(ids), settings.max_new_tokens, self.context)
        return ids, [self._pixels(medium) for medium in media]

    def _prompt_ids(self, prompt: str) -> list[int]:
        return [*self.tokenizer.opening, *encode_interleaved(prompt.rstrip(), self.tokenizer)]

    def _look_and_prefill(self, media: list[Tensor]) -> Prefill:
        """Flamingo's prefill, with its media looked at when it is called."""

        def prefill(ids: Tensor, lengths: Sequence[int], capacity: int):
            latents = self.flamingo.embed_media(media, ids) if media else None
            return self.flamingo.prefill(ids, lengths, capacity, latents)

        return prefill
