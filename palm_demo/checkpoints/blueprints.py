"""What a weights file says of its model: enough to build it empty, ready for the tensors."""

from dataclasses import asdict, dataclass

from palm_demo.decoder import Size
from palm_demo.errors import CheckpointError
from palm_demo.models import Flamingo, MaMMUT, PaLM
from palm_demo.models.flamingo import bridges_at_every
from palm_demo.models.mammut import PatchMemory, bidirectional_text_pass
from palm_demo.models.media_encoder import MediaEncoder
from palm_demo.models.media_rules import MEDIA_RULES
from palm_demo.parts import STYLES
from palm_demo.resampler import AttentionPool, PerceiverResampler, PlacedLatents
from palm_demo.vision import VisionTower


@dataclass(frozen=True)
class PaLMBlueprint:
    """context: tokens of prompt and answer together that the model was trained for."""

    size: Size
    style: str
    context: int

    kind = "palm"

    def build(self) -> PaLM:
        return PaLM(self.size, STYLES[self.style])


@dataclass(frozen=True)
class MaMMUTBlueprint:
    """The better parts of MaMMUT: captions read patches, the contrastive pass sees both ways."""

    size: Size
    style: str
    cross_layers: tuple[int, ...]
    dim_latents: int

    kind = "mammut"

    def build(self, tower: VisionTower) -> MaMMUT:
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
class FlamingoBlueprint:
    """What stands between a PaLM and a tower."""

    media_token_id: int
    media_rule: str
    cross_attn_every: int
    max_frames: int
    max_media: int
    resampler_depth: int
    num_latents: int

    kind = "flamingo"

    def build(self, palm: PaLM, tower: VisionTower) -> Flamingo:
        size = palm.size
        resampler = PerceiverResampler(
            tower.width, self.resampler_depth, size.heads, size.dim_head, self.num_latents
        )
        places = PlacedLatents(self.max_media, tower.width)
        encoder = MediaEncoder(tower, resampler, places, self.max_frames)
        bridges = bridges_at_every(self.cross_attn_every, size, encoder.dim)
        return Flamingo(palm.decoder, encoder, self.media_token_id, self.media_rule, bridges)


Blueprint = PaLMBlueprint | MaMMUTBlueprint | FlamingoBlueprint


def describe(blueprint: Blueprint) -> dict:
    """The JSON that stands in the file's header."""
    return {"kind": blueprint.kind, **asdict(blueprint)}


def blueprint_from(description: dict) -> Blueprint:
    """The converse of `describe`. Raises CheckpointError on what this version does not know."""
    fields = {name: value for name, value in description.items() if name != "kind"}
    for name, known in {"style": STYLES, "media_rule": MEDIA_RULES}.items():
        if name in fields and fields[name] not in known:
            raise CheckpointError(
                f"the weights file is of {name.replace('_', ' ')} {fields[name]!r}; known: {', '.join(known)}"
            )
    kinds = {b.kind: b for b in (PaLMBlueprint, MaMMUTBlueprint, FlamingoBlueprint)}
    try:
        if "size" in fields:
            fields["size"] = Size(**fields["size"])
        if "cross_layers" in fields:
            fields["cross_layers"] = tuple(fields["cross_layers"])
        return kinds[description["kind"]](**fields)
    except TypeError as error:
        raise CheckpointError(f"the weights file describes another version: {error}") from error
