"""The picture encoder: any open_clip vision tower as patch tokens.

The only file that knows open_clip.
"""

from collections.abc import Sequence
from pathlib import Path

import open_clip
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torch import Tensor, nn


class VisionTower(nn.Module):
    """An open_clip image encoder, (b, 3, size, size) pixels -> (b, patches, width) tokens."""

    def __init__(self, visual: nn.Module, preprocess: PreprocessCfg):
        super().__init__()
        visual.output_tokens = True
        self.visual = visual
        self.preprocess_settings = preprocess
        self.transform = image_transform_v2(preprocess, is_train=False)
        self.image_size = visual.image_size[0]
        with torch.no_grad():
            tokens = self(torch.zeros(1, 3, self.image_size, self.image_size))
        self.patches, self.width = tokens.shape[1:]

    @classmethod
    def from_open_clip(cls, name: str, pretrained: str | None = None) -> "VisionTower":
        """Any model open_clip knows; `pretrained` is one of its tags or a file."""
        model = open_clip.create_model(name, pretrained=pretrained)
        return cls(model.visual, PreprocessCfg(**model.visual.preprocess_cfg))

    @classmethod
    def from_folder(cls, folder: Path) -> "VisionTower":
        """A tower of our own, random until its weights are loaded.

        folder: holds an `open_clip_config.json`. The text half that open_clip builds beside the
        tower is thrown away.
        """
        model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
        return cls(model.visual, PreprocessCfg(**model.visual.preprocess_cfg))

    def forward(self, pixels: Tensor) -> Tensor:
        """(b, 3, size, size) normalised pixels -> (b, patches, width); no class token."""
        _, tokens = self.visual(pixels)
        return tokens

    def preprocess(self, images: Sequence[Image.Image]) -> Tensor:
        """Pictures of any size and mode -> (len(images), 3, size, size), on white."""
        return torch.stack([self.transform(flatten(image)) for image in images])

    def freeze_(self) -> "VisionTower":
        """Stops gradients and dropout for good; `train()` on a parent no longer reaches it."""
        self.requires_grad_(False)
        self.eval()
        self.train = lambda mode=True: self
        return self


def flatten(image: Image.Image) -> Image.Image:
    """RGB, with transparent parts on white: what a drawing without a background looks like."""
    if image.mode.startswith("I;16"):
        image = image.convert("I").point(lambda level: level / 256)  # `convert` alone clips to white
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")
