"""What holds for every captioner, whosever weights it has."""

import torch
from torch import Tensor
from torch.testing import assert_close

equal = {"atol": 1e-5, "rtol": 1e-4}


@torch.no_grad()
def check_cached_logits_match_full_forward_in_a_ragged_batch(captioner, pixels: Tensor) -> None:
    ids, following, lengths = torch.randint(1, 60, (2, 4)), torch.randint(1, 60, (2, 5)), [4, 1]
    memory = captioner.encode_images(pixels).memory
    logits, cache = captioner.prefill(ids, lengths, 10, memory)
    steps = torch.stack([logits, *(captioner.decode_step(following[:, n], cache) for n in range(5))], dim=1)
    for row, length in enumerate(lengths):
        whole = torch.cat((ids[row, :length], following[row]))[None]
        assert_close(steps[row], captioner.logits(whole, memory[row : row + 1])[0, length - 1 :], **equal)
