"""How fast pictures become text: `python -m benchmarks.pictures`, a Markdown table out.

The references keep nothing between tokens: for each one they are run again, over pictures and text. All
sides share weights, and a tower as wide as the text, because the references have no projection between
the two. Decoding is greedy, so all of them write the same.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from flamingo_pytorch.flamingo_palm import FlamingoPaLM
from mammut_pytorch import MaMMUT as ReferenceMaMMUT
from torch import Tensor, nn

from benchmarks.measuring import Side, arguments, machine, medians, table, times
from benchmarks.subjects import SHAPES
from palm_demo.checkpoints import from_reference
from palm_demo.inference.decoding import run_in_turn
from palm_demo.models import Flamingo, MaMMUT
from palm_demo.models.vision import VisionTower

TOWER = Path(__file__).parent / "vision"
"""ResNet-18 up to the stage whose patches are 256 wide."""
SHAPE = SHAPES["8 M"]
MEDIA_TOKEN, START = 3, 1
IMAGES, WORDS, NEW = 4, 16, 20
MANY = 256


def make(layout: str, reference: Callable[..., nn.Module], device: torch.device, **arguments):
    """Ours and the reference's, of the same random weights."""
    tower = VisionTower.from_folder(TOWER)
    arguments = {**SHAPE, "img_encoder": tower, **arguments}
    theirs = reference(**arguments).eval()
    ours = from_reference(layout, theirs.state_dict(), **arguments)
    pixels = torch.randn(MANY, 3, tower.image_size, tower.image_size, device=device)
    return ours.to(device), theirs.to(device), pixels


def again(logits: Callable[[Tensor], Tensor], ids: Tensor) -> list[int]:
    """NEW ids, greedy, from logits (1, n, vocab) of the whole text for each."""
    for _ in range(NEW):
        ids = torch.cat((ids, logits(ids)[:, -1:].argmax(dim=-1)), dim=1)
    return ids[0, -NEW:].tolist()


def in_steps(
    prefill: Callable[[Tensor, list[int], int], tuple[Tensor, object]],
    decode_step: Callable[[Tensor, object], Tensor],
    ids: Tensor,
) -> list[int]:
    """NEW ids, greedy, with a cache."""
    length = ids.shape[1]
    logits, cache = prefill(ids, [length], length + NEW)
    written = [logits.argmax(dim=-1)]
    while len(written) < NEW:
        written.append(decode_step(written[-1], cache).argmax(dim=-1))
    return torch.cat(written).tolist()


def flamingo(rounds: int, device: torch.device) -> list[list[str]]:
    """An answer to several pictures."""
    ours, reference, pixels = make("flamingo-pytorch", FlamingoPaLM, device, max_video_frames=4)
    images = pixels[:IMAGES]
    ids = torch.randint(MEDIA_TOKEN + 1, SHAPE["num_tokens"], (1, IMAGES + WORDS), device=device)
    ids[0, : 4 * IMAGES : 4] = MEDIA_TOKEN

    def answer(ours: Flamingo) -> list[int]:
        latents = ours.embed_media(list(images), ids)
        return in_steps(lambda *prompt: ours.prefill(*prompt, latents), ours.decode_step, ids)

    sides = {
        "ours": lambda: run_in_turn(answer, ours),
        "flamingo-pytorch": lambda: run_in_turn(again, lambda ids: reference(ids, images=images[None]), ids),
    }
    return _rows(f"Flamingo: {IMAGES} pictures, {NEW} tokens", sides, rounds, device)


def mammut(rounds: int, device: torch.device) -> list[list[str]]:
    """A caption, and pictures embedded for search."""
    ours, reference, pixels = make("mammut-pytorch", ReferenceMaMMUT, device, image_dim=256)
    start, image = torch.tensor([[START]], device=device), pixels[:1]

    def caption(ours: MaMMUT) -> list[int]:
        memory = ours.encode_images(image).memory
        return in_steps(lambda *prompt: ours.prefill(*prompt, memory), ours.decode_step, start)

    def with_patches(encoder: nn.Module, image: Tensor) -> list[int]:
        patches = encoder(image)
        return again(lambda ids: reference(ids, image_tokens=patches), start)

    sides = {
        "ours": lambda: run_in_turn(caption, ours),
        "MaMMUT-pytorch": lambda: run_in_turn(again, lambda ids: reference(ids, images=image), start),
        "MaMMUT-pytorch, patches kept": lambda: run_in_turn(with_patches, reference.img_encoder, image),
    }
    rows = _rows(f"MaMMUT: a caption of {NEW} tokens", sides, rounds, device)
    sides = {
        "ours": lambda: run_in_turn(ours.encode_images, pixels),
        "MaMMUT-pytorch": lambda: run_in_turn(reference.embed_image, pixels),
    }
    return rows + _rows(f"MaMMUT: {MANY} pictures embedded", sides, rounds, device)


def _rows(what: str, sides: dict[str, Side], rounds: int, device: torch.device) -> list[list[str]]:
    """Ours against each of the others."""
    seconds = medians(sides, rounds, device)
    ours = seconds.pop("ours")
    return [[what, f"{ours:.3f}", name, f"{s:.3f}", times(s, ours)] for name, s in seconds.items()]


def main() -> None:
    given = arguments(__doc__, rounds=5).parse_args()
    print(machine(given.device))
    found = [*flamingo(given.rounds, given.device), *mammut(given.rounds, given.device)]
    print("\n" + table(["seconds, 8 M, fp32", "ours", "against", "seconds", "ratio"], found))


if __name__ == "__main__":
    main()
