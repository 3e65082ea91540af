"""MaMMUT's part of a session, on a released captioner and CLIP's words."""

import numpy as np
import pytest
import torch

from palm_demo.checkpoints import from_reference
from palm_demo.concurrency import FairQueue
from palm_demo.errors import PromptError
from palm_demo.inference.settings import BatchLimits
from palm_demo.media import MediaLimits
from palm_demo.models.clip_captioners import new_coca
from palm_demo.models.tokenizers import ClipTokenizer
from palm_demo.models.transformer import TransformerConfig
from palm_demo.models.vision import ViTConfig
from palm_demo.session.loaded_models import LoadedModel
from palm_demo.session.mammut import MammutPart
from palm_demo.session.seen_frames import SeenFrames

from .plain_openmammut import HEADS, TEXT_HEADS, Plain, tensors

WORDS = ClipTokenizer()


def part_of(captioner) -> MammutPart:
    metadata = {"name": "openMaMMUT", "trained_on": "nothing", "knows": "nothing"}
    limits = BatchLimits(rows=2)
    loaded = LoadedModel(captioner, WORDS, captioner.context, limits, metadata, bundled=False)
    return MammutPart(loaded, FairQueue(), MediaLimits(), SeenFrames(max_bytes=0))


@pytest.fixture
def weights():
    return tensors(vocab=len(WORDS), context=20)


@pytest.fixture
def mammut(weights):
    made = part_of(from_reference("openmammut", weights, heads=HEADS, text_heads=TEXT_HEADS))
    yield made
    made.engine.batch.close()


def plain_caption(plain: Plain, pixels: torch.Tensor, count: int) -> str:
    ids = [WORDS.bos_id]
    while len(ids) <= count:
        logits = plain.logits(ids, pixels)[-1]
        logits[WORDS.suppress_ids()] = -torch.inf
        if (best := int(logits.argmax())) == WORDS.eos_id:
            break
        ids.append(best)
    return WORDS.decode(ids).strip()


def test_captions_alone_and_together_are_the_plain_forwards(mammut, weights, picture):
    other = picture.rotate(90)
    (first, second) = mammut.model.tower.preprocess([picture, other])
    plain = Plain(weights)
    wanted = [plain_caption(plain, pixels, 6) for pixels in (first, second)]
    assert mammut.captions([picture, other], max_new_tokens=6) == wanted
    assert mammut.caption(picture, max_new_tokens=6) == wanted[0] != ""


def test_likeliest_captions_come_best_first_and_one_longer_than_the_context_is_refused(mammut, picture):
    chances = mammut.caption_alternatives(picture, count=3, max_new_tokens=2)
    assert 1 <= len(chances) <= 3 and list(chances.values()) == sorted(chances.values(), reverse=True)
    with pytest.raises(PromptError, match="reads 20 in all"):
        mammut.caption(picture, max_new_tokens=20)


def test_texts_are_compared_with_their_marks_and_in_lower_case(mammut, weights, picture):
    latents = mammut.embed_texts(["A Cat! ", "two dogs, and a bird"])
    plain = Plain(weights)
    for text, latent in zip(["a cat!", "two dogs, and a bird"], latents, strict=True):
        (ids,) = WORDS.encode_for_embedding([text])
        np.testing.assert_allclose(latent, plain.text_latent(ids).numpy(), atol=1e-5)
    chances = mammut.classify(picture, ["cat", "dog"])
    assert sum(chances.values()) == pytest.approx(1)
    assert mammut.embedding_dim == 24 == mammut.embed_images([picture]).shape[1]
    with pytest.raises(PromptError, match="a text to search for is empty"):
        mammut.embed_texts(["  "])


def test_cocas_captions_have_five_tokens_with_their_mark_and_openmammuts_may_be_empty(picture):
    vit = ViTConfig(image_size=8, patch_size=4, dim=32, depth=1, heads=4, ff_mult=4, dim_latents=24)
    text = TransformerConfig(dim=24, depth=1, heads=2, vocab=len(WORDS), dim_head=12)
    coca = new_coca(vit, 5, 3, text, context=20, decoder_depth=1).state_dict()
    wants_to_end = torch.zeros(24, len(WORDS))
    wants_to_end[:, WORDS.eos_id] = 1
    for layout, weights, heads, least in (
        ("coca", coca, {"heads": 4, "text_heads": 2, "pool_heads": 3}, 4),
        ("openmammut", tensors(vocab=len(WORDS), context=20), {"heads": HEADS, "text_heads": TEXT_HEADS}, 0),
    ):
        head = "text_decoder" if layout == "coca" else "text"
        last = {f"{head}.ln_final.weight": torch.zeros(24), f"{head}.ln_final.bias": torch.ones(24)}
        captioner = from_reference(
            layout, weights | last | {f"{head}.text_projection": wants_to_end}, **heads
        )
        mammut = part_of(captioner)
        written = [*mammut.captions([picture], max_new_tokens=8), mammut.caption(picture, 8)]
        assert written == [WORDS.decode([1] * least)] * 2  # 1 is the first id that may be said
        assert ("" in mammut.caption_alternatives(picture, 3, 6)) == (least == 0)
        mammut.engine.batch.close()


def test_the_fingerprint_is_of_what_makes_latents(mammut):
    before = mammut.fingerprint
    with torch.no_grad():
        mammut.model.text.text_projection.add_(1)
    assert part_of(mammut.model).fingerprint == before
    with torch.no_grad():
        mammut.model.text.positional_embedding.add_(1)
    assert part_of(mammut.model).fingerprint != before
