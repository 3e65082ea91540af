"""Which media a text sees, head by head."""

from collections.abc import Callable

import torch
from einops import rearrange, repeat
from torch import Tensor

MediaRule = Callable[[Tensor, Tensor], Tensor]
"""(text_time, media_time) -> bool: may text at this time see that medium?"""

MEDIA_RULES: dict[str, tuple[MediaRule, ...]] = {
    "immediate": (torch.eq,),
    "all": (torch.ge,),
    "both": (torch.ge, torch.eq),
}
"""What a bridge shows to text: only the medium right before it (section 3.1.3), or all before it; or the
one to half of its heads and the other to the rest. By the one a text learns what its own picture is, by
the other it finds a thing among several."""


def visible_media(rule: str, times: Tensor, media: int, latents: int, heads: int) -> Tensor:
    """(b, heads, n, media x latents) bool; 1 in place of the heads where all see the same.

    times: (b, n), how many media stand at or before each token. latents: of a medium.
    """
    numbers = torch.arange(1, media + 1, device=times.device)
    media_times = repeat(numbers, "t -> (t m)", m=latents)
    text_times = rearrange(times, "b n -> b n 1")
    shown = torch.stack([may_see(text_times, media_times) for may_see in MEDIA_RULES[rule]], dim=1)
    rules = shown.shape[1]
    return shown if rules == 1 else repeat(shown, "b r n m -> b (r h) n m", h=heads // rules)
