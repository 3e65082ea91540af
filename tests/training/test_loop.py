"""The training loop, and what it is fed."""

import json
import random
from contextlib import suppress

import numpy as np
import pytest
import torch

from palm_demo import world
from palm_demo.errors import FinetuningError
from palm_demo.models import PaLM
from palm_demo.models.layers import RLHF
from palm_demo.models.losses import IGNORED
from palm_demo.models.tokenizers import BundledTokenizer
from palm_demo.models.transformer import TransformerConfig
from palm_demo.training import prose
from palm_demo.training.loop import Intervals, Schedule, train
from palm_demo.training.muon import Muon
from palm_demo.training.palm import next_token_batch
from palm_demo.training.paths import RunPaths
from palm_demo.training.pictures import padded
from palm_demo.training.tokenizer import TokenizerRecipe, train_tokenizer

STEPS = 6
SCHEDULE = Schedule(STEPS, learning_rate=0.01, warmup=2)
ALWAYS = Intervals(checkpoint_seconds=-1, measure_steps=2)


class Interrupted(Exception):
    pass


def batch_at(step: int) -> dict[str, torch.Tensor]:
    rng = random.Random(step)
    return next_token_batch([[rng.randrange(48) for _ in range(9)] for _ in range(4)], {0})


def run(folder, stop_before: int = STEPS, schedule: Schedule = SCHEDULE, intervals: Intervals = ALWAYS):
    """A model trained in a folder, from a start of its own or from what the folder holds."""
    torch.manual_seed(1)
    palm = PaLM(TransformerConfig(dim=32, depth=2, heads=2, vocab=48, dim_head=16, ff_mult=2), RLHF)
    steps = []

    def losses_of(batch):
        if steps and steps[-1] + 1 == stop_before < STEPS:
            raise Interrupted
        steps.append(next(s for s in range(STEPS) if torch.equal(batch_at(s)["ids"], batch["ids"].cpu())))
        return {"text": palm.loss(batch["ids"], batch["labels"])}

    def measure():
        assert not palm.training and not torch.is_grad_enabled()
        return {"measured": 0.5}

    palm.steps = steps
    try:
        palm.figures = train(palm, batch_at, losses_of, measure, schedule, intervals, folder, loaders=0)
    except Interrupted:
        palm.figures = None
    return palm


def weights(palm: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: t.cpu().clone() for name, t in palm.state_dict().items()}


def same(one: dict, other: dict) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
@pytest.mark.parametrize("stop", [1, 3, 5])
def test_an_interrupted_and_resumed_run_gives_the_weights_of_an_unbroken_one(stop, tmp_path):
    unbroken = run(tmp_path / "unbroken")
    broken = run(tmp_path / "broken", stop_before=stop)
    assert broken.figures is None and not same(weights(broken), weights(unbroken))
    resumed = run(tmp_path / "broken")
    assert resumed.steps == list(range(stop, STEPS))
    assert same(weights(resumed), weights(unbroken))


@pytest.mark.slow
def test_a_resumed_run_remembers_what_batch_norm_has_seen(tmp_path):
    def run_until(steps: int, folder):
        torch.manual_seed(1)
        model = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.BatchNorm1d(4))
        schedule = Schedule(STEPS, learning_rate=0.01, warmup=2)

        def losses_of(batch):
            if losses_of.steps == steps:
                raise Interrupted
            losses_of.steps += 1
            return {"size": (model(batch["ids"].float()) - 1).abs().mean()}

        losses_of.steps = 0
        with suppress(Interrupted):
            train(model, batch_at, losses_of, dict, schedule, ALWAYS, folder, loaders=0)
        return model

    unbroken = run_until(STEPS, tmp_path / "unbroken")
    run_until(3, tmp_path / "broken")
    resumed = run_until(STEPS, tmp_path / "broken")
    assert same(weights(resumed), weights(unbroken))


def run_noisily(folder, stop_before: int = STEPS, steps: int = STEPS, average: float = 0.9):
    """Two matrices, one of them Muon's, which learn through noise, several batches a step."""
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Linear(16, 4))
    schedule = Schedule(steps, 0.01, warmup=2, muon_rate=0.02, average=average, accumulate=2)
    seen = []

    def losses_of(batch):
        if len(seen) == 2 * stop_before < 2 * steps:
            raise Interrupted
        seen.append(batch)
        noisy = batch["ids"].float() + torch.randn(batch["ids"].shape)
        return {"size": (model(noisy) - 1).square().mean()}

    with suppress(Interrupted):
        train(
            model, batch_at, losses_of, dict, schedule, ALWAYS, folder, loaders=0, matrices=[model[0].weight]
        )
    return model


@pytest.mark.slow
@pytest.mark.parametrize("stop", [1, 4])
def test_a_resumed_run_draws_the_noise_of_an_unbroken_one(stop, tmp_path):
    unbroken = run_noisily(tmp_path / "unbroken")
    run_noisily(tmp_path / "broken", stop_before=stop)
    torch.rand(3)  # what another process has drawn
    resumed = run_noisily(tmp_path / "broken")
    assert same(weights(resumed), weights(unbroken))


@pytest.mark.slow
def test_a_run_may_be_lengthened_before_its_rate_falls(tmp_path):
    long = run_noisily(tmp_path / "long", stop_before=2 * STEPS, steps=2 * STEPS)
    run_noisily(tmp_path / "lengthened", stop_before=3)
    lengthened = run_noisily(tmp_path / "lengthened", stop_before=2 * STEPS, steps=2 * STEPS)
    assert same(weights(lengthened), weights(long))


def test_the_averaged_weights_are_left_and_measured(tmp_path):
    plain, averaged = (run_noisily(tmp_path / str(a), average=a) for a in (0.0, 0.9))
    saved = torch.load(tmp_path / "0.9" / "state.pt", weights_only=True)
    assert same(saved["model"], weights(plain))
    assert same(saved["average"]["weights"], weights(averaged))
    assert not same(saved["model"], weights(averaged))


def test_the_log_tells_the_hours_of_all_sittings(tmp_path):
    run(tmp_path, stop_before=4)
    run(tmp_path)
    hours = [json.loads(line)["hours"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert len(hours) == 3 and hours == sorted(hours)


def test_muons_updates_have_even_singular_values_and_adamws_size():
    torch.manual_seed(0)
    for shape in ((24, 64), (64, 24)):
        matrix = torch.nn.Parameter(torch.zeros(shape))
        matrix.grad = torch.randn(shape) @ torch.diag(torch.logspace(0, -2, shape[1]))
        Muon([matrix], lr=1.0, weight_decay=0.0, precision=torch.float32).step()
        values = torch.linalg.svdvals(matrix.detach())
        assert values.max() / values.min() < 2.5
        assert 0.1 < matrix.square().mean().sqrt() < 0.3


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has its own from 2.9 on")
def test_muon_agrees_with_torchs_own_in_bf16():
    torch.manual_seed(0)
    ours, theirs = (torch.nn.Parameter(torch.ones(16, 32)) for _ in range(2))
    optimizers = (
        Muon([ours], lr=0.02, weight_decay=0.1, precision=torch.bfloat16),
        torch.optim.Muon([theirs], lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
    )
    for _ in range(3):
        ours.grad = theirs.grad = torch.randn(16, 32)
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(ours, theirs, rtol=0.02, atol=1e-3)


@pytest.mark.slow
def test_work_since_the_last_checkpoint_is_done_again_alike(tmp_path):
    unbroken = run(tmp_path / "unbroken")
    rare = Intervals(checkpoint_seconds=1e9, measure_steps=100)
    run(tmp_path / "broken", stop_before=2)
    lost = run(tmp_path / "broken", stop_before=5, intervals=rare)
    assert lost.steps == [2, 3, 4]
    resumed = run(tmp_path / "broken")
    assert resumed.steps == [2, 3, 4, 5]
    assert same(weights(resumed), weights(unbroken))


def test_training_moves_the_weights_and_reports_the_last_figures(tmp_path):
    torch.manual_seed(1)
    palm = run(tmp_path)
    assert palm.figures == {"measured": 0.5}
    assert palm.steps == list(range(STEPS))
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == STEPS // 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.jsonl", "state.pt"]


def test_what_is_frozen_stays_as_it_was(tmp_path):
    torch.manual_seed(1)
    palm = PaLM(TransformerConfig(dim=32, depth=2, heads=2, vocab=48, dim_head=16, ff_mult=2), RLHF).freeze_()
    palm.add_scope("carroll", 2)
    before = weights(palm)
    train(
        palm,
        batch_at,
        lambda batch: {"text": palm.loss(batch["ids"], batch["labels"], ["carroll"] * 4)},
        dict,
        SCHEDULE,
        ALWAYS,
        tmp_path,
        loaders=0,
    )
    moved = {name for name, weight in weights(palm).items() if not torch.equal(weight, before[name])}
    assert moved == {name for name in before if name.startswith("scopes.")}


def test_a_folder_of_another_models_run_is_refused(tmp_path):
    run(tmp_path)
    with pytest.raises(ValueError, match="of another model"):
        train(torch.nn.Linear(3, 3), batch_at, dict, dict, SCHEDULE, ALWAYS, tmp_path, loaders=0)


def test_the_rate_rises_stays_and_falls_to_nothing():
    schedule = Schedule(steps=100, learning_rate=1.0, warmup=10, decay=0.2)
    rates = [schedule.rate(step) for step in range(101)]
    assert rates[:10] == sorted(rates[:10]) and 0 < rates[0] < rates[9]
    assert set(rates[9:81]) == {1.0}
    assert rates[80:] == sorted(rates[80:], reverse=True) and rates[100] == 0


# batches


def test_labels_are_the_ids_shifted_right():
    batch = next_token_batch([[1, 5, 6, 7], [1, 8, 9, 2]], unlearned=set())
    assert batch["ids"].tolist() == [[1, 5, 6], [1, 8, 9]]
    assert batch["labels"].tolist() == [[5, 6, 7], [8, 9, 2]]


def test_ids_that_no_model_may_say_are_read_and_not_learned():
    batch = next_token_batch([[1, 5, 3, 7, 1]], unlearned={1, 3})
    assert batch["ids"].tolist() == [[1, 5, 3, 7]]
    assert batch["labels"].tolist() == [[5, IGNORED, 7, IGNORED]]


def test_rows_are_padded_on_the_right():
    assert padded([[1, 2, 3], [4]], fill=9).tolist() == [[1, 2, 3], [4, 9, 9]]


# books

SECRET = "zanzibar"


@pytest.fixture
def corpus(tmp_path):
    """Two books to learn from, two that may not be read: one by an author of the shelf."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    held_out = sorted(prose.HELD_OUT)[:2]
    rows = ["id,title,author,shelf", "11,Alice,Carroll,carroll", "1661,Holmes,Doyle,doyle"]
    rows += [f"{held_out[0]},Secret,Carroll,carroll", f"{held_out[1]},Other,Nobody,"]
    (folder / "index.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    for name, word in (("11", "rabbit"), ("1661", "pipe")):
        (folder / f"{name}.txt").write_text(f"the {word} was late. " * 40, encoding="utf-8")
    for name in held_out:
        (folder / f"{name}.txt").write_text(f"the {SECRET} was secret. " * 40, encoding="utf-8")
    return folder


def test_held_out_books_are_never_read(corpus, tokenizer, tmp_path):
    tokens = prose.token_array(prose.training_books(corpus), tokenizer)
    text = tokenizer.decode(tokens.tolist())
    assert "rabbit" in text and "pipe" in text and SECRET not in text


def test_a_held_out_book_is_not_on_its_authors_shelf(corpus, tokenizer, tmp_path):
    tokens = prose.token_array(prose.shelf_books(corpus, "carroll"), tokenizer)
    text = tokenizer.decode(tokens.tolist())
    assert "rabbit" in text and "pipe" not in text and SECRET not in text


def test_books_are_learned_from_or_held_out_and_none_is_both(corpus):
    read, unread = prose.training_books(corpus), prose.held_out_books(corpus)
    assert len(read) == len(unread) == 2
    assert sorted([*read, *unread]) == prose.books(corpus)


def test_the_tokenizer_learns_nothing_from_held_out_books(corpus, tmp_path):
    place = RunPaths(tmp_path / "assets", tmp_path / "run", ALWAYS, corpus)
    train_tokenizer(TokenizerRecipe(vocabulary=400, sentences=0), place)
    learned = BundledTokenizer.load(place.tokenizer)
    assert len(learned.encode(" rabbit")) == 1
    assert len(learned.encode(f" {SECRET}")) > len(SECRET) // 2


def test_every_book_begins_and_ends(corpus, tokenizer, tmp_path):
    tokens = prose.token_array(prose.training_books(corpus), tokenizer).tolist()
    assert tokens[0] == tokenizer.bos_id and tokens[-1] == tokenizer.eos_id
    assert tokens.count(tokenizer.bos_id) == tokens.count(tokenizer.eos_id) == 2


def test_the_books_of_the_base_are_one_file_that_needs_no_corpus(corpus, tokenizer, tmp_path):
    (corpus / "7.txt").write_text("nobody's tale. " * 40, encoding="utf-8")
    made = prose.base_texts(corpus, tokenizer, tmp_path / "run/books.npz")
    carried = prose.base_texts(None, tokenizer, tmp_path / "run/books.npz")
    assert carried.read == made.read == ["7"]
    assert carried.held_out == made.held_out and SECRET in carried.held_out[0]
    assert tokenizer.decode(carried.tokens.tolist()) == ("nobody's tale. " * 40).strip()
    with pytest.raises(FinetuningError, match=r"no books at .*gone.npz; bring that file"):
        prose.base_texts(None, tokenizer, tmp_path / "gone.npz")


def test_a_window_is_a_piece_of_the_books_after_a_beginning(corpus, tokenizer, tmp_path):
    tokens = prose.token_array(prose.training_books(corpus), tokenizer)
    windows = [prose.window(tokens, 17, tokenizer.bos_id, number, seed=0) for number in (1, *range(1, 9))]
    assert windows[0] == windows[1]
    assert len(set(map(tuple, windows))) > 4
    joined = " ".join(map(str, tokens.tolist()))
    for window in windows:
        assert len(window) == 17 and window[0] == tokenizer.bos_id
        assert " ".join(map(str, window[1:])) in joined


def test_each_reading_reads_all_once_and_cuts_it_elsewhere():
    tokens = np.arange(1000, dtype=np.uint16)
    pieces = (len(tokens) - 1) // 15 - 1

    def reading(number: int) -> list[list[int]]:
        numbers = range(number * pieces, (number + 1) * pieces)
        return [prose.window(tokens, 16, 2000, place, seed=0)[1:] for place in numbers]

    first, second = reading(0), reading(1)
    for windows in (first, second):
        ids = [token_id for window in sorted(windows) for token_id in window]
        assert ids == list(range(ids[0], ids[0] + 15 * pieces))
    assert min(first) != min(second) and first != sorted(first)


def test_the_base_reads_no_shelf_that_a_scope_is_taught(corpus):
    assert [book.stem for book in prose.base_books(corpus)] == []
    (corpus / "7.txt").write_text("nobody's tale", encoding="utf-8")
    assert [book.stem for book in prose.base_books(corpus)] == ["7"]


def test_a_book_is_cut_at_headings_that_stand_far_apart():
    long = "It was late. " * 300
    book = f"THE BOOK\n\nCHAPTER I\n\n{long}\n\nHe cried OH NO loudly.\n\nCHAPTER II\n\n{long}\n\nTHE END"
    texts = prose.split_into_texts(book)
    assert [text.splitlines()[0] for text in texts] == ["THE BOOK", "CHAPTER II"]
    assert texts[-1].endswith("THE END") and "".join(texts).replace("\n", "") == book.replace("\n", "")


def test_words_of_the_world_are_single_ids(corpus, tmp_path):
    place = RunPaths(tmp_path / "assets", tmp_path / "run", ALWAYS, corpus)
    figures = train_tokenizer(TokenizerRecipe(vocabulary=400, sentences=2000), place)
    learned = BundledTokenizer.load(place.tokenizer)
    assert len(learned) == figures["vocabulary"] > 400
    names = [*world.concepts(), *world.unseen(), *world.photo_nouns(), *world.everyday_words()]
    words = {word for name in names for word in name.split() if word.isalpha()}
    assert [word for word in sorted(words) if len(learned.encode(f" {word}")) > 1] == []
    assert learned.decode(learned.encode("a photo of a tabby cat")) == "a photo of a tabby cat"


def test_an_unknown_shelf_is_named_with_those_there_are(corpus):
    with pytest.raises(ValueError, match=r"no shelf 'verne'; it has .*carroll, doyle"):
        prose.shelf_books(corpus, "verne")


def test_a_folder_without_books_is_named(tmp_path):
    with pytest.raises(FinetuningError, match=r"holds no \.txt files"):
        prose.books(tmp_path)
