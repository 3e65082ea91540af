"""Recipe: Flamingo's cross-attention layers and resampler, between the finished PaLM and the finished
tower."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from palm_demo import world
from palm_demo.checkpoints import files, load_palm, load_tower, save_flamingo
from palm_demo.checkpoints.bundled import FlamingoConfig
from palm_demo.models.flamingo import Flamingo
from palm_demo.models.losses import IGNORED
from palm_demo.models.tokenizers import BundledTokenizer
from palm_demo.models.vision import VisionTower
from palm_demo.training.feature_cache import (
    FRAMES,
    FeatureCache,
    encode_scenes,
    load_or_encode,
    pictures,
    with_noise,
)
from palm_demo.training.loop import Batch, Schedule, to_device, train
from palm_demo.training.objectives import matching_loss, noun_states, shown_nouns
from palm_demo.training.paths import RunPaths
from palm_demo.training.photo_features import PhotoFeatures, imagined_photographs, photo_features_of
from palm_demo.training.questions import (
    ABOUT_ONE,
    Asked,
    QuestionSampler,
    Topic,
    pick_topic,
    questions_batch,
)
from palm_demo.training.warm_start import copy_where_alike_, fit_projection_
from palm_demo.training.world_text import question_reading

GATE_START = 0.5
LATENTS_SCALE = 0.02
FRAMES_SCALE, PLACES_SCALE = 10, 5
"""Factors on the initial latents, and on the position embeddings of frames and of media."""

MATCH_WEIGHT = 0.5
"""Weight of the matching loss beside that of the answers."""

FITTED_SCENES, FITTED_PHOTOS = 4_096, 8
"""What a projection is fitted to: scenes, and imagined photographs of each class that is drawn too."""

MEASURED = 128
"""Held-out questions of each kind."""


@dataclass(frozen=True)
class FlamingoRecipe:
    """Settings of Flamingo's training.

    Attributes:
        matching_steps: first steps, which only teach the first cross-attention layer where to look.
        naming_steps, pointing_steps, moving_steps, counting_steps, new_word_steps: lessons after these,
            one after the other: see `curriculum`. All topics are mixed in the steps that remain.
        photographs: a folder of photographs.
        pictures, videos: how many are drawn beforehand.
        crops: crops of photographs that are encoded beforehand.
        photos: imagined photographs of each class.
        batch: pictures that are asked about in a step, and as many others that words are matched with.
            The first steps take twice as many; questions about several pictures or a video half as
            many.
        decay: the part of the steps in which the learning rate falls, at their end.
        start: weights of an earlier Flamingo on the same PaLM, which is trained further; empty for a
            fresh start. The lessons can then be left out, with 0 steps each.
        start_tower: a folder with `tower.safetensors` and `open_clip_config.json` of the tower that this
            Flamingo was trained on; empty where it is today's.
    """

    photographs: str
    steps: int = 6200
    matching_steps: int = 1000
    naming_steps: int = 400
    pointing_steps: int = 200
    moving_steps: int = 200
    counting_steps: int = 200
    new_word_steps: int = 200
    pictures: int = 49_152
    videos: int = 4_096
    crops: int = 2_048
    photos: int = 12
    batch: int = 64
    learning_rate: float = 1.5e-3
    decay: float = Schedule.decay
    start: str = ""
    start_tower: str = ""
    seed: int = 0


def new_config(media_token_id: int) -> FlamingoConfig:
    """The configuration of the bundled Flamingo."""
    return FlamingoConfig(
        media_token_id,
        media_rule="both",
        cross_attn_every=2,
        max_frames=FRAMES,
        max_media=8,
        resampler_depth=1,
        num_latents=36,
        dim_media=256,
    )


def videos(recipe: FlamingoRecipe) -> list[world.MovingScene]:
    """The moving scenes that a recipe trains on."""
    rng = random.Random(f"flamingo/{recipe.seed}/videos")
    ways = [rng.choice(rng.choice((tuple(world.DIRECTIONS), world.CHANGES))) for _ in range(recipe.videos)]
    return [world.moving_scene(rng, way) for way in ways]


def encoded_media(
    recipe: FlamingoRecipe, tower: VisionTower, photo_features: PhotoFeatures, paths: RunPaths
) -> FeatureCache:
    """The tower's features of all pictures, videos and imagined photographs that a recipe trains on."""
    scenes, seed = pictures(recipe.pictures, recipe.seed), f"pictures/{recipe.seed}"
    drawn = load_or_encode(paths.features / "pictures.safetensors", scenes, tower, seed)
    moving = load_or_encode(
        paths.features / "videos.safetensors", videos(recipe), tower, f"videos/{recipe.seed}"
    )
    classes = list(range(len(world.photo_classes()))) * recipe.photos
    return drawn + moving + imagined_photographs(photo_features, classes, recipe.seed)


def train_flamingo(recipe: FlamingoRecipe, paths: RunPaths) -> dict[str, float]:
    """Trains Flamingo and writes `flamingo.safetensors`. Returns the last figures."""
    torch.manual_seed(recipe.seed)
    tokenizer = BundledTokenizer.load(paths.tokenizer)
    palm, _ = load_palm(paths.weights / "palm.safetensors")
    tower = load_tower(paths.weights / "tower.safetensors", paths.assets / "vision")
    made = new_config(tokenizer.media_id)
    model = made.build(palm, tower)
    init_gates_(model)
    if recipe.start:
        tensors, _ = files.read(Path(recipe.start), FlamingoConfig.kind)
        copy_where_alike_(model, tensors)

    photo_features = photo_features_of(recipe.photographs, recipe.crops, tower, recipe.seed, paths)
    feature_cache = encoded_media(recipe, tower, photo_features, paths)
    if recipe.start_tower:
        folder = Path(recipe.start_tower)
        earlier = load_tower(folder / "tower.safetensors", folder)
        known, scenes = seen_by_both(recipe, feature_cache, photo_features)
        fit_projection_(*model.encoder.projection, known, scenes, earlier, f"pictures/{recipe.seed}")
    question_sampler = QuestionSampler(feature_cache.media, tokenizer)
    words = noun_states(model, tokenizer)
    lessons = curriculum(recipe)

    def batch_at(step: int) -> Batch:
        rng = random.Random(f"flamingo/{recipe.seed}/{step}")
        if step < recipe.matching_steps:
            return matching_batch(rng, 2 * recipe.batch, question_sampler)
        lesson = step - recipe.matching_steps
        topic = lessons[lesson] if lesson < len(lessons) else pick_topic(rng)
        if topic is QuestionSampler.name:
            groups = 2 * recipe.batch
        else:
            groups = recipe.batch if topic in ABOUT_ONE else recipe.batch // 2
        asked = [topic(question_sampler, rng) for _ in range(groups)]
        return matching_batch(rng, recipe.batch, question_sampler) | questions_batch(asked, tokenizer)

    twin_width = tower.visual.twin.projection.out_features

    def noisy(places: Tensor) -> list[Tensor]:
        return [with_noise(one[None], twin_width)[0] for one in feature_cache.patches_of(places)]

    def losses_of(batch: Batch) -> dict[str, Tensor]:
        alone = batch["matched"].new_full((len(batch["matched"]), 1), tokenizer.media_id)
        latents = model.embed_patches(noisy(batch["matched"]), alone)
        losses = {"match": MATCH_WEIGHT * matching_loss(model, words, latents, batch["shown_nouns"])}
        if "labels" in batch:
            losses["answer"] = answer_loss(model, noisy(batch["media"]), batch)
        return losses

    measured = {kind: _held_out(kind, model, tokenizer) for kind in world.KINDS}
    measured["photographs"] = _held_out_photographs(photo_features, tokenizer)

    def measure() -> dict[str, float]:
        return {kind: exact_match(model, *of_kind) for kind, of_kind in measured.items()}

    schedule = Schedule(recipe.steps, recipe.learning_rate, decay=recipe.decay)
    figures = train(model, batch_at, losses_of, measure, schedule, paths.intervals, paths.run)
    save_flamingo(paths.weights / "flamingo.safetensors", model, made)
    return figures


def seen_by_both(
    recipe: FlamingoRecipe, feature_cache: FeatureCache, photo_features: PhotoFeatures
) -> tuple[FeatureCache, list[world.Scene]]:
    """What a projection is fitted to: scenes and imagined photographs of drawn things, and the scene that an
    earlier tower, which knows drawings alone, looks at in place of each."""
    concepts = set(world.concepts())
    usual = [world.usual_name(noun.name) for noun in world.photo_classes()]
    classes = [number for number, name in enumerate(usual) if name in concepts] * FITTED_PHOTOS
    photos = imagined_photographs(photo_features, classes, recipe.seed + 1)
    rng = random.Random(f"flamingo/{recipe.seed}/seen by both")
    drawings = [world.single_scene(rng, names=[usual[number]]) for number in classes]
    return feature_cache.first(FITTED_SCENES) + photos, [*feature_cache.media[:FITTED_SCENES], *drawings]


def curriculum(recipe: FlamingoRecipe) -> list[Topic]:
    """The topic of each step after the matching: lessons that are about one thing at a time.

    In the mix of all topics, videos stayed at chance for 1,700 steps, because few of its questions are
    about them; a lesson of 200 steps about nothing else taught them.
    """
    moving = (QuestionSampler.way, QuestionSampler.grows_or_shrinks)
    return [
        *[QuestionSampler.name] * recipe.naming_steps,
        *[QuestionSampler.which_picture] * recipe.pointing_steps,
        *[moving[step % 2] for step in range(recipe.moving_steps)],
        *[QuestionSampler.counts] * recipe.counting_steps,
        *[QuestionSampler.few_shot_naming] * recipe.new_word_steps,
    ]


def init_gates_(model: Flamingo) -> None:
    """Starts training with half-open gates, small latents, and larger position embeddings.

    In earlier runs, gates that began closed hardly opened in the first hundreds of steps, and no answer
    made use of a picture. Captions were learned sooner from small latents than from those of size one.
    With smaller frame positions, Flamingo did not learn to tell growing from shrinking; with smaller
    media positions, it did not learn to say which of several pictures shows a thing.
    """
    with torch.no_grad():
        for cross_attn in model.cross_attention.values():
            cross_attn.attention_gate.fill_(GATE_START)
            cross_attn.ff_gate.fill_(GATE_START)
        model.encoder.resampler.latents.mul_(LATENTS_SCALE)
        model.encoder.frame_positions.mul_(FRAMES_SCALE)
        model.encoder.places.positions.mul_(PLACES_SCALE)


def matching_batch(rng: random.Random, size: int, question_sampler: QuestionSampler) -> Batch:
    """A batch that matches nouns with pictures.

    matched: (size,), positions of pictures in the feature cache. shown_nouns: (size, nouns) bool.
    """
    photos = size // 4 if question_sampler.photographs else 0
    places = rng.choices(question_sampler.stills, k=size - photos)
    places += rng.choices(question_sampler.photographs, k=photos) if photos else []
    return {
        "matched": torch.tensor(places),
        "shown_nouns": shown_nouns([question_sampler.media[place] for place in places]),
    }


def answers(model: Flamingo, patches: Sequence[Tensor], batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (answers' ids, vocab), these ids, and the question that each belongs to, (answers' ids,).

    patches: of the batch's media.
    """
    latents = model.embed_patches(patches, batch["ids"][batch["firsts"]])
    questions, at = (batch["labels"] != IGNORED).nonzero().T
    states = model.embed(batch["ids"], latents[batch["shown"]])[questions, at]
    return model.decoder.head(states, model.decoder.embedding), batch["labels"][questions, at], questions


def answer_loss(model: Flamingo, patches: Sequence[Tensor], batch: Batch) -> Tensor:
    """The mean over questions of an answer's mean loss per token, in nats.

    A mean over all tokens at once would give a caption six times the weight of a yes or no.
    """
    logits, ids, questions = answers(model, patches, batch)
    nats = F.cross_entropy(logits.float(), ids, reduction="none")
    return (nats / questions.bincount()[questions]).sum() / len(batch["ids"])


def exact_match(model: Flamingo, feature_cache: FeatureCache, batch: Batch) -> float:
    """The fraction of questions in which each token of the answer is the likeliest, given those before
    it."""
    batch = to_device(model, batch)
    logits, ids, questions = answers(model, feature_cache.patches_of(batch["media"]), batch)
    wrong = (logits.argmax(dim=-1) != ids).float()
    return (questions.bincount(wrong) == 0).float().mean().item()


def _held_out(kind: str, model: Flamingo, tokenizer: BundledTokenizer) -> tuple[FeatureCache, Batch]:
    """Fresh questions of a kind about fresh media. New words name things that are never trained on."""
    rng = random.Random(f"flamingo/measured/{kind}")
    names = world.unseen() if kind == "few_shot_naming" else None
    media, asked = [], []
    for _ in range(MEASURED):
        question = world.sample_question(rng, kind, names=names)
        places = range(len(media), len(media) + len(question.media))
        asked.append(Asked([question_reading(question, tokenizer)], places))
        media += question.media
    return encode_scenes(media, model.encoder.tower, f"measured/{kind}"), questions_batch(asked, tokenizer)


def _held_out_photographs(
    photo_features: PhotoFeatures, tokenizer: BundledTokenizer
) -> tuple[FeatureCache, Batch]:
    """One question of each kind about other imagined photographs."""
    rng = random.Random("flamingo/measured/photographs")
    numbers = rng.sample(range(len(world.photo_classes())), MEASURED)
    cache = imagined_photographs(photo_features, numbers, seed=MEASURED)
    asked = []
    for place, photo in enumerate(cache.media):
        (question,) = world.ask_about_photo(rng, photo, 1, plain=False)
        asked.append(Asked([question_reading(question, tokenizer)], [place]))
    return cache, questions_batch(asked, tokenizer)
