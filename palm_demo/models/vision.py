"""The picture encoder: any vision tower of open_clip, as patch tokens.

It calls open_clip's documented functions; the rest is in `palm_demo.internals.open_clip_parts`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from PIL import Image
from torch import Tensor, nn

from palm_demo.internals import open_clip_parts
from palm_demo.internals.open_clip_parts import (
    image_preparation,
    prepare_for_,
    raw_tokens_,
    stage_of_folder,
)
from palm_demo.internals.timm_parts import (
    first_stages,
    fold_norms_,
    last_stages,
    trunk_of_folder,
    twin_stages,
)
from palm_demo.media import to_rgb
from palm_demo.models.layers import LayerNorm

ACTIVATIONS = ("gelu", "quick_gelu")
"""Names of the activations that CLIPs were trained with. OpenAI's have the second one."""

SOFT_TEMPERATURE = 2.0
"""The temperature of the softmax that tells how certain a classifier is."""

MOST_OBLONG = 64
"""The largest ratio of sides. If a longer picture is scaled by its short side, its ends are cut off
first."""


class TokensOfViT(nn.Module):
    """The tokens that open_clip's vision transformers return, most of them without the class token."""

    def forward(self, visual: nn.Module, pixels: Tensor) -> Tensor:
        """Patch tokens of pixels: (b, 3, size, size) -> (b, patches, width)."""
        _, tokens = visual(pixels)
        return tokens


class TokensOfStage(nn.Module):
    """The feature map of one stage of a timm network, one token per position.

    Convolutions do not encode positions, so each token gets the sines and cosines of its row and
    column (Carion et al. 2020, appendix A.4).
    """

    def __init__(self, stage: int):
        super().__init__()
        self.stage = stage

    def forward(self, visual: nn.Module, pixels: Tensor) -> Tensor:
        """Tokens of pixels: (b, 3, size, size) -> (b, rows x columns, channels)."""
        read = visual.forward_intermediates(
            pixels.to(memory_format=torch.channels_last),
            indices=[self.stage],
            stop_early=True,
            intermediates_only=True,
        )
        features = read["image_intermediates"][0]
        _, channels, rows, columns = features.shape
        places = sines_of_places(rows, columns, channels).to(features)
        return rearrange(features, "b c h w -> b (h w) c") + places


class Twin(nn.Module):
    """A trained copy of a trunk's last stages, beside the released ones, with tokens of its own.

    The trunk keeps what it knows, and its classifier's answer becomes a vector. The twin learns what
    the trunk does not know from the same early features, and what it takes each token for becomes a
    vector too: in styles that were never trained on, this says more than the token itself.

    Args:
        trunk: the released network.
        count: number of stages that both share.
        width: of the twin's tokens, and of the vectors of what they are taken for.
        width_answers: of the answer's vector; `fill_answers_` makes the classes' vectors.
        classes: number of classes that the twin tells tokens apart by.
    """

    def __init__(self, trunk: nn.Module, count: int, width: int, width_answers: int, classes: int):
        super().__init__()
        self.count = count
        self.stages = twin_stages(trunk, count)
        fine, coarse = (trunk.feature_info[place]["num_chs"] for place in (-2, -1))
        self.norm_fine, self.norm_coarse = LayerNorm(fine), LayerNorm(coarse)
        self.projection = nn.Linear(4 * fine + coarse, width, bias=False)
        self.norm = LayerNorm(width)
        self.classifier = nn.Linear(width, classes)
        self.register_buffer("answers", torch.zeros(trunk.num_classes, width_answers))

    def forward(self, states: Tensor) -> Tensor:
        """Shared features (b, channels, rows, columns) -> tokens (b, rows / 2, columns / 2, width).

        Each token has the coarse features of its position and the four finer ones there.
        """
        fine = self.stages[0](states)
        coarse = fine
        for stage in self.stages[1:]:
            coarse = stage(coarse)
        fine = self.norm_fine(rearrange(fine, "b c h w -> b h w c"))
        fine = F.pad(fine, (0, 0, 0, fine.shape[2] % 2, 0, fine.shape[1] % 2))
        fine = rearrange(fine, "b (h y) (w x) c -> b h w (y x c)", y=2, x=2)
        coarse = self.norm_coarse(rearrange(coarse, "b c h w -> b h w c"))
        return self.norm(self.projection(torch.cat((coarse, fine), dim=-1)))

    def taken_for(self, tokens: Tensor) -> Tensor:
        """What each token is taken for, as a vector: (..., width) -> (..., width).

        It is the sum of the classes' directions weighted by their probabilities, in the size of a token
        where the twin is certain.
        """
        directions = F.normalize(self.classifier.weight, dim=1) * tokens.shape[-1] ** 0.5
        return self.classifier(tokens).float().softmax(dim=-1).to(tokens) @ directions

    def answer(self, logits: Tensor) -> Tensor:
        """The classifier's answer as a vector: (b, classes) logits -> (b, width_answers).

        The direction is the sum of the classes' vectors weighted by their probabilities. The length is
        that of the same sum at a higher temperature, which tells known things from others better
        (Liang et al. 2018).
        """
        likely, softened = (
            (logits.float() / temperature).softmax(dim=1).to(self.answers) @ self.answers
            for temperature in (1, SOFT_TEMPERATURE)
        )
        return F.normalize(likely, dim=1) * softened.norm(dim=1, keepdim=True)

    @torch.no_grad()
    def fill_answers_(self, classifier: Tensor) -> None:
        """Makes the classes' vectors from a classifier's weight, (classes, channels).

        Classes with similar rows get similar vectors, in the directions in which the rows differ most.
        Each vector has the size of a token.
        """
        rows = classifier - classifier.mean(dim=0)
        left, sizes, _ = torch.linalg.svd(rows, full_matrices=False)
        width = self.answers.shape[1]
        self.answers.copy_(F.normalize(left[:, :width] * sizes[:width].sqrt(), dim=1) * width**0.5)


class TokensOfTwin(nn.Module):
    """The twin's token for each position with its row and column, what the twin takes it for, and the
    answer of the trunk's classifier."""

    def forward(self, visual: nn.Module, pixels: Tensor) -> Tensor:
        """Tokens of pixels: (b, 3, size, size) -> (b, rows x columns, 2 width + width_answers)."""
        trunk, twin = visual.trunk, visual.twin
        shared = first_stages(trunk, pixels.to(memory_format=torch.channels_last), twin.count)
        tokens_of_twin = twin(shared)
        answer = twin.answer(last_stages(trunk, shared, twin.count))
        _, rows, columns, width = tokens_of_twin.shape
        places = sines_of_places(rows, columns, width).to(tokens_of_twin)
        tokens = rearrange(tokens_of_twin, "b h w d -> b (h w) d")
        answers = repeat(answer, "b d -> b n d", n=tokens.shape[1])
        return torch.cat((tokens + places, twin.taken_for(tokens), answers), dim=2)


def sines_of_places(rows: int, columns: int, dim: int) -> Tensor:
    """Sines and cosines of positions, (rows x columns, dim): half for the row, half for the column."""
    frequencies = 100 ** -torch.linspace(0, 1, dim // 4)

    def sines(count: int) -> Tensor:
        angles = torch.arange(count)[:, None] * frequencies
        return torch.cat((angles.sin(), angles.cos()), dim=1)

    down = repeat(sines(rows), "h d -> (h w) d", w=columns)
    across = repeat(sines(columns), "w d -> (h w) d", h=rows)
    return torch.cat((down, across), dim=1)


@dataclass(frozen=True)
class ViTConfig:
    """The numbers of a vision transformer.

    Attributes:
        image_size, patch_size: pixels of a side.
        dim: width of the tokens.
        ff_mult: inner width of the feed-forward, as a multiple of `dim`.
        dim_latents: width of the projected pooled output.
    """

    image_size: int
    patch_size: int
    dim: int
    depth: int
    heads: int
    ff_mult: int
    dim_latents: int


class VisionTower(nn.Module):
    """An open_clip image encoder: (b, 3, size, size) pixels -> (b, patches, width) tokens."""

    def __init__(self, visual: nn.Module, tokens: nn.Module):
        super().__init__()
        self.visual, self.tokens = visual, tokens
        self.transform = image_preparation(visual)
        self.image_size = visual.image_size[0]
        training = visual.training
        blank = next(visual.parameters()).new_zeros(1, 3, self.image_size, self.image_size)
        with torch.no_grad():
            shape = self.eval()(blank).shape
        self.train(training)
        self.patches, self.width = shape[1:]

    @classmethod
    def from_open_clip(
        cls, name: str, pretrained: str | None = None, device: torch.device | str = "cpu"
    ) -> "VisionTower":
        """Any vision transformer of open_clip, with its patch tokens as they leave the last block.

        `pretrained` is one of its tags or a file. Two defaults of open_clip would silently give wrong
        results. It applies the last norm to the tokens it returns, which CLIP trains for the pooled
        token only and OpenFlamingo's training never used. And it chooses the activation by the model's
        name: OpenAI's weights need QuickGELU. A tag tells that; for a file the name has to
        ("ViT-L-14-quickgelu").
        """
        import open_clip

        tagged = open_clip.get_pretrained_cfg(name, pretrained) if pretrained else {}
        quick = tagged.get("quick_gelu", False)
        visual = open_clip.create_model(
            name, pretrained=pretrained, device=device, force_quick_gelu=quick
        ).visual
        return cls(raw_tokens_(visual), TokensOfViT())

    @classmethod
    def from_folder(cls, folder: Path) -> "VisionTower":
        """A tower of our own, random until its weights are loaded.

        folder: has an `open_clip_config.json`, which also names the stage that is read, or how many
        stages a twin shares with the trunk. The text half that open_clip builds beside the tower and
        stages after the one that is read are thrown away.
        """
        settings = json.loads((folder / "open_clip_config.json").read_text(encoding="utf-8"))["tokens"]
        if "twin" in settings:
            visual, tokens = trunk_of_folder(folder), TokensOfTwin()
            visual.twin = Twin(visual.trunk, **settings["twin"])
        else:
            visual, tokens = stage_of_folder(folder, settings["stage"]), TokensOfStage(settings["stage"])
        return cls(visual.to(memory_format=torch.channels_last), tokens)

    @classmethod
    def with_raw_tokens(cls, size: ViTConfig) -> "VisionTower":
        """A random vision transformer with its tokens as they leave the last block, the class token
        first.

        Two defaults of open_clip would silently give wrong results: it applies a norm to the tokens it
        returns, and some of its configurations have QuickGELU instead of GELU.
        """
        return cls(_raw_transformer(size, "none", nn.GELU), TokensOfViT())

    @classmethod
    def with_raw_patches(cls, size: ViTConfig, activation: str) -> "VisionTower":
        """A random vision transformer with its patch tokens as they leave the last block, as OpenFlamingo
        reads them.

        activation: a name of ACTIVATIONS.
        """
        layer = open_clip_parts.QuickGELU if activation == "quick_gelu" else nn.GELU
        return cls(_raw_transformer(size, "tok", layer), TokensOfViT())

    def forward(self, pixels: Tensor) -> Tensor:
        """(b, 3, size, size) normalised pixels -> (b, patches, width)."""
        return self.tokens(self.visual, pixels.to(next(self.visual.parameters()).dtype))

    @property
    def width_answers(self) -> int:
        """Width of the classifier's answer at the end of each token; 0 without a classifier."""
        return self.visual.twin.answers.shape[1] if isinstance(self.tokens, TokensOfTwin) else 0

    def finish_(self) -> "VisionTower":
        """Makes a tower that will not be trained any more faster. Its output stays the same."""
        if isinstance(self.tokens, TokensOfTwin):
            fold_norms_(self.visual)
        return self.eval()

    def preprocess(self, images: Sequence[Image.Image]) -> Tensor:
        """Pictures of any size and mode -> (len(images), 3, size, size), on white."""
        return torch.stack([self.transform(self._limit_ratio(to_rgb(image))) for image in images])

    def _limit_ratio(self, image: Image.Image) -> Image.Image:
        """Scales or crops a very thin picture, whose sides the transform would scale to nothing or beyond
        memory."""
        short, long = sorted(image.size)
        if self.visual.preprocess_cfg["resize_mode"] == "longest" and long > short * self.image_size:
            size = [max(1, round(side * self.image_size / long)) for side in image.size]
            return image.resize(size, Image.Resampling.BICUBIC)
        if self.visual.preprocess_cfg["resize_mode"] == "shortest" and long > short * MOST_OBLONG:
            left, top = (max(0, side - short * MOST_OBLONG) // 2 for side in image.size)
            middle = left, top, image.width - left, image.height - top  # all that it sees
            return image.crop(middle)
        return image

    def shown(self, pixels: Tensor) -> list[Image.Image]:
        """Turns pixels (b, 3, size, size) back into the RGB pictures that the tower is given."""
        settings = self.visual.preprocess_cfg
        mean, std = (pixels.new_tensor(settings[name])[:, None, None] for name in ("mean", "std"))
        levels = ((pixels * std + mean).clamp(0, 1) * 255).round().to(torch.uint8)
        return [Image.fromarray(rearrange(one, "c h w -> h w c").numpy(force=True)) for one in levels]


def _raw_transformer(size: ViTConfig, pool: str, activation: type[nn.Module]) -> nn.Module:
    """A random vision transformer. pool: "none" returns the class token too, "tok" the patches only."""
    visual = open_clip_parts.VisionTransformer(
        size.image_size,
        size.patch_size,
        size.dim,
        size.depth,
        size.heads,
        size.ff_mult,
        pool_type=pool,
        output_dim=size.dim_latents,
        act_layer=activation,
    )
    return prepare_for_(raw_tokens_(visual), size.image_size)


def freeze_(module: nn.Module) -> nn.Module:
    """Turns off gradients and dropout for good. `train()` on a parent no longer reaches the module."""
    module.requires_grad_(False)
    module.eval()
    module.train = partial(_unmoved, module)  # which copies and pickles along, and is the copy's then
    return module


def _unmoved(module: nn.Module, mode: bool = True) -> nn.Module:
    return module
