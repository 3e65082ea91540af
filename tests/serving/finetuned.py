"""What any session elsewhere does while it fine-tunes a scope."""

import threading
from itertools import islice

from palm_demo.inference.lora_finetuning import Progress
from palm_demo.session import Session


def finetuned_until_stopped(session: Session, text: str) -> list[Progress]:
    """A scope of rank 4, evaluated at every step and stopped after a few."""
    cancelled = threading.Event()
    progress = session.finetune(text, cancelled=cancelled, eval_steps=1, rank=4)
    seen = list(islice(progress, 3))
    cancelled.set()
    seen += progress
    assert [step.step for step in seen] == list(range(len(seen))) and len(seen) < 1000
    assert seen[-1].bits_per_byte is not None  # it was evaluated once more, and the best kept
    return seen
