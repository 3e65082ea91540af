"""What any session elsewhere does while it teaches a scope."""

import threading
from itertools import islice

from palm_demo.inference.lora_finetuning import Progress
from palm_demo.session import Session


def taught_until_stopped(session: Session, text: str) -> list[Progress]:
    """A scope of rank 4, judged at every step and stopped after a few."""
    cancelled = threading.Event()
    progress = session.finetune(text, cancelled=cancelled, eval_steps=1, rank=4)
    seen = list(islice(progress, 3))
    cancelled.set()
    seen += progress
    assert [step.step for step in seen] == list(range(len(seen))) and len(seen) < 1000
    assert seen[-1].bits_per_byte is not None  # it was judged once more, and the best kept
    return seen
