"""Files of the bundled models: which tensors each holds, and the configuration that rebuilds the model."""

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from palm_demo.checkpoints import files
from palm_demo.errors import CheckpointError
from palm_demo.models import Flamingo, MaMMUT, PaLM
from palm_demo.models.cross_attention import MEDIA_RULES
from palm_demo.models.flamingo import cross_attention_at_every
from palm_demo.models.layers import STYLES, LayerNorm
from palm_demo.models.mammut import PatchMemory, bidirectional_text_pass
from palm_demo.models.media_encoder import MediaEncoder
from palm_demo.models.ood import OODDetector
from palm_demo.models.resampler import AttentionPool, LatentPositions, PerceiverResampler
from palm_demo.models.transformer import TransformerConfig
from palm_demo.models.vision import VisionTower


@dataclass(frozen=True)
class PaLMConfig:
    """The configuration of a bundled PaLM.

    Attributes:
        size: the numbers of its decoder.
        style: a name of STYLES.
        context: tokens of prompt and answer together that it was trained for.
    """

    size: TransformerConfig
    style: str
    context: int

    kind = "palm"

    def build(self) -> PaLM:
        """A model with random weights."""
        return PaLM(self.size, STYLES[self.style])


@dataclass(frozen=True)
class MaMMUTConfig:
    """The configuration of a bundled MaMMUT.

    Captions read the patches, and the contrastive pass attends in both directions.
    """

    size: TransformerConfig
    style: str
    cross_layers: tuple[int, ...]
    dim_latents: int

    kind = "mammut"

    def build(self, tower: VisionTower) -> MaMMUT:
        """A model with random weights on a vision tower."""
        size = self.size
        return MaMMUT(
            size,
            STYLES[self.style],
            tower,
            self.cross_layers,
            kv_heads=size.heads,
            dim_latents=self.dim_latents,
            pool=AttentionPool(
                size.dim, tower.width, size.heads, size.heads, size.dim_head, caption_queries=0
            ),
            memory=PatchMemory(size.dim, tower.width),
            text_pass=bidirectional_text_pass,
        )


@dataclass(frozen=True)
class FlamingoConfig:
    """The configuration of a bundled Flamingo: what stands between a PaLM and a vision tower.

    Attributes:
        dim_media: width that the tower's patches are projected to; None leaves them as they are.
    """

    media_token_id: int
    media_rule: str
    cross_attn_every: int
    max_frames: int
    max_media: int
    resampler_depth: int
    num_latents: int
    dim_media: int | None = None

    kind = "flamingo"

    def build(self, palm: PaLM, tower: VisionTower) -> Flamingo:
        """A model with random weights on a PaLM and a vision tower."""
        size, width = palm.config, self.dim_media or tower.width
        resampler = PerceiverResampler(
            width, self.resampler_depth, size.heads, size.dim_head, self.num_latents
        )
        places = LatentPositions(self.max_media, width)
        projection = (
            nn.Sequential(LayerNorm(tower.width), nn.Linear(tower.width, width, bias=False))
            if self.dim_media
            else None
        )
        encoder = MediaEncoder(tower, resampler, places, self.max_frames, projection)
        cross_attention = cross_attention_at_every(self.cross_attn_every, size, encoder.dim)
        return Flamingo(palm.decoder, encoder, self.media_token_id, self.media_rule, cross_attention)


ModelConfig = PaLMConfig | MaMMUTConfig | FlamingoConfig


def describe(config: ModelConfig) -> dict:
    """The configuration as JSON for a file's header."""
    return {"kind": config.kind, **asdict(config)}


def config_from(description: dict) -> ModelConfig:
    """The configuration of a file's header. Raises CheckpointError for what this version does not know."""
    fields = {name: value for name, value in description.items() if name != "kind"}
    for name, known in {"style": STYLES, "media_rule": MEDIA_RULES}.items():
        if name in fields and fields[name] not in [*known]:  # a value without a hash is unknown too
            raise CheckpointError(
                f"the weights file is of {name.replace('_', ' ')} {fields[name]!r}; known: {', '.join(known)}"
            )
    kinds = {config.kind: config for config in (PaLMConfig, MaMMUTConfig, FlamingoConfig)}
    try:
        if "size" in fields:
            fields["size"] = TransformerConfig(**fields["size"])
        if "cross_layers" in fields:
            fields["cross_layers"] = tuple(fields["cross_layers"])
        return kinds[description["kind"]](**fields)
    except TypeError as error:
        raise CheckpointError(f"the weights file describes another version: {error}") from error


STORED = torch.bfloat16
WIDEST_PATCHES = 16_384


def save_tower(path: Path, tower: VisionTower) -> None:
    """Writes a vision tower."""
    files.write(path, tower.visual.state_dict(), {"kind": "tower"}, STORED)


def load_tower(path: Path, config_folder: Path) -> VisionTower:
    """Reads a vision tower. The folder has its `open_clip_config.json`."""
    tensors, _ = files.read(path, "tower")
    tower = VisionTower.from_folder(config_folder)
    files.load_into(tower.visual, tensors, path)
    return tower.finish_()


def save_palm(path: Path, palm: PaLM, config: PaLMConfig) -> None:
    """Writes a PaLM without its scopes."""
    files.write(path, palm.decoder.state_dict(), describe(config), STORED)


def load_palm(path: Path) -> tuple[PaLM, PaLMConfig]:
    """Reads a PaLM and its configuration."""
    tensors, description = files.read(path, PaLMConfig.kind)
    config = config_from(description)
    palm = config.build()
    files.load_into(palm.decoder, tensors, path)
    return palm.eval(), config


def save_mammut(path: Path, mammut: MaMMUT, config: MaMMUTConfig) -> None:
    """Writes a MaMMUT without its tower, which has a file of its own."""
    files.write(path, _own(mammut, "tower."), describe(config), STORED)


def load_mammut(path: Path, tower: VisionTower) -> MaMMUT:
    """Reads a MaMMUT, which gets the given tower."""
    tensors, description = files.read(path, MaMMUTConfig.kind)
    mammut = config_from(description).build(tower)
    return _load_own(mammut, tensors, path, "tower.")


def save_flamingo(path: Path, flamingo: Flamingo, config: FlamingoConfig) -> None:
    """Writes a Flamingo without its tower and language model, which have files of their own."""
    files.write(path, _own(flamingo, "encoder.tower.", "decoder."), describe(config), STORED)


def load_flamingo(path: Path, palm: PaLM, tower: VisionTower) -> Flamingo:
    """Reads a Flamingo, which gets the given language model and tower."""
    tensors, description = files.read(path, FlamingoConfig.kind)
    flamingo = config_from(description).build(palm, tower)
    return _load_own(flamingo, tensors, path, "encoder.tower.", "decoder.")


def save_ood_detector(path: Path, detector: OODDetector) -> None:
    """Writes an OOD detector."""
    description = {"kind": "ood", "width": detector.width, "width_answers": detector.width_answers}
    files.write(path, detector.state_dict(), description, torch.float32)


def load_ood_detector(path: Path) -> OODDetector:
    """Reads an OOD detector."""
    tensors, description = files.read(path, "ood")
    width, answers = description.get("width"), description.get("width_answers")
    if type(width) is not int or not 1 <= width <= WIDEST_PATCHES:
        raise CheckpointError(f"{path} is of patches of width {width!r}; it can be 1 to {WIDEST_PATCHES:,}")
    if type(answers) is not int or not 0 <= answers < width:
        raise CheckpointError(f"{path} is of answers of width {answers!r}; it can be 0 to {width - 1:,}")
    detector = OODDetector(width, answers)
    files.load_into(detector, tensors, path)
    return detector.eval()


def _own(model: nn.Module, *shared: str) -> dict[str, Tensor]:
    return {name: t for name, t in model.state_dict().items() if not name.startswith(shared)}


def _load_own(model: nn.Module, tensors: dict[str, Tensor], path: Path, *shared: str) -> nn.Module:
    others = {name: t for name, t in model.state_dict().items() if name.startswith(shared)}
    if foreign := sorted(others.keys() & tensors.keys()):
        raise CheckpointError(f"{path} does not fit the model: unexpected: {', '.join(foreign[:3])}")
    files.load_into(model, {**others, **tensors}, path)
    return model.eval()
