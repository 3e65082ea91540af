"""Tiny random models for every test: seconds on a CPU, the same each time, no downloads."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from einops import rearrange
from torch import Tensor, nn

import palm_demo
from palm_demo.models import Flamingo, MaMMUT, PaLM
from palm_demo.models.flamingo import cross_attention_at_every
from palm_demo.models.layers import MULTIMODAL, RLHF, Style
from palm_demo.models.mammut import PatchMemory, bidirectional_text_pass
from palm_demo.models.media_encoder import MediaEncoder
from palm_demo.models.resampler import AttentionPool, LatentPositions, PerceiverResampler
from palm_demo.models.tokenizers import BundledTokenizer
from palm_demo.models.transformer import Decoder, TransformerConfig
from palm_demo.session import Session
from tests.hub import Hub, taken_for_the_hub
from tests.profiles.weights import PROFILE, publish

TINY = TransformerConfig(dim=32, depth=2, heads=2, vocab=48, dim_head=16, ff_mult=2)
MEDIA_ID = 3

# On tensors this small two threads mostly wait for each other: 30 times slower on a busy machine.
torch.set_num_threads(1)


class TinyTower(nn.Module):
    """A stand-in for VisionTower: 8 x 8 pixels into four tokens of 24, with all that eval mode stills."""

    image_size, patches, width = 8, 4, 24

    def __init__(self):
        super().__init__()
        self.to_patches = nn.Conv2d(3, 24, kernel_size=4, stride=4)
        self.norm = nn.BatchNorm2d(24)
        self.dropout = nn.Dropout(0.5)

    def forward(self, pixels: Tensor) -> Tensor:
        return rearrange(self.dropout(self.norm(self.to_patches(pixels))), "b d h w -> b (h w) d")


def stirred(model: nn.Module) -> nn.Module:
    """Noise on every weight, so that nothing hides behind a gate that starts shut or a zero."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    return model.eval()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests that drive a browser or are served the page: those that use these fixtures, by whatever
    way."""
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if "browser" in fixtures:
            item.add_marker(pytest.mark.browser)
        if "serve" in fixtures:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def assets() -> Path:
    return Path(__file__).resolve().parents[1] / "assets"


@pytest.fixture(scope="session")
def session() -> Session:
    """The bundled weights."""
    return palm_demo.load()


@pytest.fixture(scope="module")
def filled_hub(tmp_path_factory) -> Iterator[Hub]:
    """A Hub with released weights that are a few numbers large."""
    with taken_for_the_hub(tmp_path_factory.mktemp("cache")) as hub:
        publish(hub)
        yield hub


@pytest.fixture(scope="session")
def profile(tmp_path_factory) -> Path:
    """That names them."""
    path = tmp_path_factory.mktemp("profile") / "small.yaml"
    path.write_text(PROFILE, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tokenizer(assets) -> BundledTokenizer:
    return BundledTokenizer.load(assets / "tokenizer.json")


@pytest.fixture
def new_tower() -> Callable[[], nn.Module]:
    return lambda: TinyTower().eval()


@pytest.fixture
def new_palm() -> Callable[..., PaLM]:
    def new(style: Style = RLHF, kind: type[PaLM] = PaLM, size: TransformerConfig = TINY) -> PaLM:
        return stirred(kind(size, style))

    return new


@pytest.fixture
def new_flamingo(new_tower) -> Callable[..., Flamingo]:
    def new(
        media_rule: str = "all", size: TransformerConfig = TINY, every: int = 1, stir: bool = True
    ) -> Flamingo:
        encoder = MediaEncoder(
            stirred(new_tower()),
            PerceiverResampler(24, depth=1, heads=2, dim_head=8, num_latents=3),
            LatentPositions(8, 24),
            max_frames=4,
        )
        cross_attention = cross_attention_at_every(every, size, encoder.dim)
        flamingo = Flamingo(stirred(Decoder(size, RLHF)), encoder, MEDIA_ID, media_rule, cross_attention)
        return stirred(flamingo) if stir else flamingo

    return new


@pytest.fixture
def new_mammut(new_tower) -> Callable[..., MaMMUT]:
    def new(pool=None, memory=None, kv_heads: int = 2, text_pass=bidirectional_text_pass) -> MaMMUT:
        mammut = MaMMUT(
            TINY,
            MULTIMODAL,
            new_tower(),
            cross_layers=(0, 1),
            kv_heads=kv_heads,
            dim_latents=20,
            pool=pool or AttentionPool(32, 24, heads=2, kv_heads=2, dim_head=16, caption_queries=0),
            memory=memory or PatchMemory(32, 24),
            text_pass=text_pass,
        )
        return stirred(mammut)

    return new


@pytest.fixture
def new_ids() -> Callable[..., Tensor]:
    """Random ids, none of them the media token."""
    return lambda *shape, vocab=TINY.vocab: torch.randint(MEDIA_ID + 1, vocab, shape)
