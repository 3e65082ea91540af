"""CoCa (Yu et al. 2022) as open_clip has it, writing with our decode loop: captions in whole sentences."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from palm_demo.decoder import Size
from palm_demo.models.captioner import Captioner, Stack
from palm_demo.models.mammut import ImageFeatures
from palm_demo.projection import Weights
from palm_demo.vision import TokensOfViT, VisionTower

FOR_CAPTIONS = ("text_decoder.", "logit_scale")


class CoCa(Captioner):
    """coca: open_clip's. Its parts are used as they are; its own `generate` needs what transformers no
    longer has, and reads the whole text anew for each token.

    The text half reads words alone, and its last states go on through the decoder, where each block is
    followed by a look at the picture. Its captions have at least five tokens, as where its publishers write
    them.
    """

    least_tokens = 5

    def __init__(self, coca: nn.Module):
        super().__init__(VisionTower(coca.visual, TokensOfViT()))
        self.text, self.text_decoder = coca.text, coca.text_decoder
        self.logit_scale = coca.logit_scale
        depth = len(self.text.transformer.resblocks) + len(self.text_decoder.resblocks)
        dim, heads = self.text.width, self.text.heads
        self.size = Size(dim, depth, heads, self.text.vocab_size, dim // heads)

    @property
    def stack(self) -> Stack:
        blind, sighted = self.text.transformer.resblocks, self.text_decoder.resblocks
        looks = dict(enumerate(self.text_decoder.cross_attn, start=len(blind)))
        return Stack(self.text, [*blind, *sighted], looks, self.text_decoder, self.text.context_length)

    @property
    def dim_latents(self) -> int:
        return self.tower.visual.proj.shape[1]

    def encode_images(self, pixels: Tensor) -> ImageFeatures:
        """Latents are pooled by the first of the tower's queries; captions read the others."""
        pooled, memory = self.tower.visual(pixels.to(self.tower.visual.proj.dtype))
        return ImageFeatures(F.normalize(pooled.float(), dim=-1), memory)

    def embed_texts(self, ids: Tensor, real: Tensor) -> Tensor:
        """The token that sums a text up has learned one place, the last, so that texts are padded."""
        pooled, _ = self.text(self._padded(ids, real))
        return F.normalize(pooled.float(), dim=-1)

    def latent_weights(self) -> dict[str, Tensor]:
        return Weights(self, without=FOR_CAPTIONS)

    def make_masks_(self) -> "CoCa":
        """What no file holds, and a model made on the meta device lacks: the text half's causal mask."""
        device = self.text.positional_embedding.device
        with torch.device(device):
            self.text.attn_mask = self.text.build_causal_mask()
        return self
