"""Teaching a scope: what is learned, what stays as it was, and when it ends."""

import threading
from itertools import islice

import pytest
import torch

from palm_demo.errors import FinetuningError
from palm_demo.inference import lora_finetuning
from palm_demo.inference.lora_finetuning import finetune, split_text
from palm_demo.inference.settings import FinetuningConfig
from palm_demo.models import PaLM
from palm_demo.models.layers import RLHF
from palm_demo.models.transformer import TransformerConfig

CONTEXT = 32
RHYME = "the little cat and the old dog went to the house in the wood, and "
TEXT = RHYME * 120
QUICK = {"rank": 4, "steps": 40, "learning_rate": 0.03, "seconds": 600.0, "patience": 100}


@pytest.fixture
def palm(new_palm, tokenizer) -> PaLM:
    palm = new_palm(RLHF, size=TransformerConfig(32, 2, 2, len(tokenizer), dim_head=16))
    palm.add_scope("carroll", 2)
    return palm


@pytest.fixture
def taught(palm, tokenizer):
    """Teaches the rhyme with these settings instead of the quick ones."""

    def teach_it(text: str = TEXT, cancelled: threading.Event | None = None, **settings):
        return finetune(palm, tokenizer, text, CONTEXT, FinetuningConfig(**QUICK | settings), cancelled)

    return teach_it


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    return all(map(torch.equal, one.parameters(), other.parameters()))


def test_what_was_not_read_gets_likelier(taught, palm, tokenizer):
    *_, last = taught()
    assert last.best < 0.9 * last.base
    found = lora_finetuning.bits_per_byte(palm, tokenizer, split_text(TEXT)[1], last.adapter, CONTEXT)
    assert found == pytest.approx(last.best)


def test_model_and_other_scopes_stay_as_they_are(taught, palm):
    before = {name: weight.clone() for name, weight in palm.named_parameters()}
    list(taught(steps=3))
    assert all(torch.equal(before[name], weight) for name, weight in palm.named_parameters())
    assert all(weight.grad is None for weight in palm.parameters())
    assert all(weight.requires_grad for weight in palm.parameters())
    assert palm.scopes.names == ["carroll"]


def test_same_seed_gives_the_same_adapter_and_another_seed_another(taught):
    one, again, other = ([*taught(steps=6, seed=seed)][-1] for seed in (1, 1, 2))
    assert same(one.adapter, again.adapter) and one.best == again.best
    assert not same(one.adapter, other.adapter)


def test_a_longer_teaching_goes_through_the_same_steps(taught):
    short, long = ([(p.step, p.loss) for p in taught(steps=steps)] for steps in (4, 9))
    assert long[:5] == short


def test_steps_are_counted_and_judged_at_intervals_and_at_the_end(taught):
    seen = list(taught(steps=25, eval_steps=10))
    assert [progress.step for progress in seen] == list(range(26))
    assert [p.step for p in seen if p.bits_per_byte is not None] == [0, 10, 20, 25]
    assert seen[0].loss is None and all(p.loss > 0 for p in seen[1:])


def test_the_best_is_kept(taught, monkeypatch):
    said = iter([5.0, 4.0, 3.0, 3.5, 3.2])
    monkeypatch.setattr(lora_finetuning, "bits_per_byte", lambda *arguments: next(said))
    seen = list(taught(steps=4, eval_steps=1))
    assert [p.best for p in seen] == [5.0, 4.0, 3.0, 3.0, 3.0]
    assert seen[2].adapter is seen[3].adapter is seen[4].adapter is not seen[1].adapter


def test_it_ends_when_nothing_is_gained_any_more(taught, monkeypatch):
    said = iter([5.0, 4.0, 4.0, 4.5, 1.0])
    monkeypatch.setattr(lora_finetuning, "bits_per_byte", lambda *arguments: next(said))
    assert [p.step for p in taught(eval_steps=1, patience=2)][-1] == 3


def test_it_ends_when_it_is_stopped_and_judges_once_more(taught):
    cancelled, seen = threading.Event(), []
    for progress in taught(cancelled=cancelled):
        seen.append(progress)
        if progress.step == 2:
            cancelled.set()
    assert seen[-1].step == 3 and seen[-1].bits_per_byte is not None


def test_it_ends_when_the_time_is_over(taught):
    assert [p.step for p in taught(seconds=1e-9)] == [0, 1]


def test_an_adapter_that_was_given_out_stays_as_it_is(taught):
    progress = taught(eval_steps=1)
    first = next(islice(progress, 1, None)).adapter
    kept = [weight.clone() for weight in first.parameters()]
    list(islice(progress, 10))
    assert all(map(torch.equal, kept, first.parameters()))


def test_it_teaches_whoever_iterates_with_gradients_off(taught):
    with torch.inference_mode():
        *_, last = taught(steps=3, eval_steps=1)
    *_, usual = taught(steps=3, eval_steps=1)
    assert last.best == usual.best and not torch.is_inference_mode_enabled()


def test_texts_are_written_as_ever_while_it_teaches(taught, palm, new_ids):
    ids, before = new_ids(1, 6), None
    for progress in taught(steps=8):
        with torch.no_grad():
            logits = palm(ids, scopes=["carroll"])
        assert before is None or torch.equal(logits, before), f"step {progress.step}"
        before = logits


def test_the_last_tenth_is_kept_to_judge_by(tokenizer):
    read, judged = split_text(TEXT)
    assert read + judged == TEXT
    assert len(judged) == pytest.approx(len(TEXT) / 10, abs=40)
    assert read[-1].isspace() and not judged[0].isspace()


@pytest.mark.parametrize("text", ["字" * 1000, "a title\n" + "字" * 992])
def test_a_text_without_spaces_is_split_all_the_same(text):
    assert split_text(text) == (text[:900], text[900:])


def test_a_text_too_short_is_refused_at_once_with_what_is_needed(taught):
    with pytest.raises(FinetuningError, match=r"the text has about 3\d tokens and 1,000 are needed"):
        taught(text=RHYME * 2)
    with pytest.raises(FinetuningError, match="about 0 tokens"):
        taught(text="")


def test_a_teaching_that_goes_astray_says_so(taught, palm):
    palm.decoder.norm.gamma.data.fill_(float("inf"))
    with pytest.raises(FinetuningError, match=r"not a number any more at step 1.*rate of 0.03; try 0.01"):
        list(taught())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rank": 0}, "rank is 0; it can be a whole number, 1 to 256"),
        ({"rank": 2.5}, "rank is 2.5"),
        ({"steps": 0}, "steps is 0"),
        ({"seconds": 0}, "seconds is 0; it can be above 0"),
        ({"seconds": float("nan")}, "seconds is nan"),
        ({"learning_rate": -1.0}, "learning_rate is -1"),
        ({"batch": 0}, "batch is 0"),
    ],
)
def test_settings_outside_their_ranges_are_refused(settings, said):
    with pytest.raises(FinetuningError, match=said):
        FinetuningConfig(**settings)
