"""PaLM's released weights, by their layout."""

import pytest
import tokenizers
import torch
from palm_rlhf_pytorch.palm import PaLM as ReferencePaLM
from tokenizers import decoders, models, pre_tokenizers, trainers
from torch.testing import assert_close

from palm_demo.checkpoints import from_reference
from palm_demo.checkpoints.palm_8k import CONTEXT
from palm_demo.errors import CheckpointError
from palm_demo.inference.engine import Engine
from palm_demo.inference.settings import BatchLimits, GenerationConfig
from palm_demo.models.tokenizers import NeoXTokenizer

ROWS = {  # model -> dim, depth, millions of parameters, tensors
    "150m": (768, 12, 144.8, 88),
    "410m": (1024, 24, 410.1, 172),
    "1b": (2048, 16, 983.9, 116),
    "2b": (2560, 24, 2157.8, 172),
}


def tensors(dim=24, depth=3, vocab=320, heads=2, dim_head=16, device="cpu") -> dict[str, torch.Tensor]:
    """All of the layout, by name, random where it is learned."""
    width, pairs = heads * dim_head, torch.arange(0, dim_head, 2)
    made = {
        "token_emb.weight": 0.3 * torch.randn(vocab, dim, device=device),
        "norm.gamma": 1 + 0.2 * torch.randn(dim, device=device),
        "norm.beta": torch.zeros(dim, device=device),
    }
    for layer in range(depth):
        fused = width + 2 * dim_head + 8 * dim
        made |= {
            f"layers.{layer}.fn.{name}": tensor
            for name, tensor in {
                "norm.gamma": 1 + 0.2 * torch.randn(dim, device=device),
                "norm.beta": torch.zeros(dim, device=device),
                "rotary_emb.inv_freq": (1 / 10_000 ** (pairs / dim_head)).to(device),
                "rotary_emb.scale": ((pairs + 0.4 * dim_head) / (1.4 * dim_head)).to(device),
                "fused_attn_ff_proj.weight": 0.3 * torch.randn(fused, dim, device=device),
                "attn_out.weight": 0.3 * torch.randn(dim, width, device=device),
                "ff_out.2.weight": 0.3 * torch.randn(dim, 4 * dim, device=device),
            }.items()
        }
    return made | {"to_logits.weight": made["token_emb.weight"]}


@pytest.fixture
def weights():
    return tensors()


@pytest.fixture(scope="module")
def neox(tmp_path_factory) -> NeoXTokenizer:
    """Built as GPT-NeoX's is, and shorter: at most 300 tokens and two runs of spaces."""
    bpe = tokenizers.Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>", "<|padding|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(["the cat and the dog and the hat"] * 9, trainer)
    bpe.add_tokens(["  ", "    "])
    path = tmp_path_factory.mktemp("neox") / "tokenizer.json"
    bpe.save(str(path))
    return NeoXTokenizer.load(path)


@torch.no_grad()
def test_logits_are_those_of_the_reference_package(weights):
    reference = ReferencePaLM(dim=24, num_tokens=320, depth=3, dim_head=16, heads=2).eval()
    reference.load_state_dict(weights)
    ours, ids = from_reference("palm-8k", weights), torch.randint(0, 320, (2, 21))
    assert_close(ours(ids), reference(ids), atol=1e-5, rtol=0)
    assert not ours.training


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_the_released_shapes_are_those_of_the_table(row):
    dim, depth, millions, count = row
    released = tensors(dim, depth, 50304, heads=8, dim_head=128, device="meta")
    assert len(released) == count
    palm = from_reference("palm-8k", released)
    assert sum(p.numel() for p in palm.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)
    size = palm.config
    assert (size.dim, size.depth, size.heads, size.dim_head, size.ff_mult) == (dim, depth, 8, 128, 4)
    assert size.vocab == 50304


def refused(weights, **arguments):
    with pytest.raises(CheckpointError) as caught:
        from_reference("palm-8k", weights, **arguments)
    return str(caught.value)


def test_every_tensor_is_demanded(weights):
    for name in weights:
        assert f"missing: {name}" in refused({n: t for n, t in weights.items() if n != name})


def test_a_surplus_tensor_and_every_wrong_shape_are_told(weights):
    assert "unexpected: odd" in refused(weights | {"odd": torch.zeros(1)})
    for name in weights:
        assert "wrong shape" in refused(weights | {name: torch.zeros(3, 5, 7)}), name


def test_a_shift_and_an_untied_head_are_refused(weights):
    assert "norm.beta is not zero" in refused(weights | {"norm.beta": torch.ones(24)})
    assert "palm-8k ties the two" in refused(weights | {"to_logits.weight": torch.ones(320, 24)})


def test_float16_is_refused_for_its_range(weights):
    assert "ask for bfloat16 or float32" in refused(weights, dtype=torch.float16)
    assert "in float16" in refused({name: t.half() for name, t in weights.items()})


@torch.no_grad()
def test_bfloat16_holds_at_the_end_of_the_context(weights):
    """xPos makes the last keys 10^8 times as large, and the last queries as small."""
    palm = from_reference("palm-8k", weights, dtype=torch.bfloat16)
    exact = from_reference("palm-8k", {name: t.bfloat16().float() for name, t in weights.items()})
    ids = torch.randint(0, 320, (1, 4))
    made = []
    for model in (palm, exact):
        _, cache = model.prefill(ids, [4], CONTEXT)
        cache.tokens.lengths = [CONTEXT - 4]  # zeros stand for all that is between
        made.append(torch.stack([model.decode_step(ids[:, n], cache) for n in range(4)]).float())
    assert made[0].isfinite().all()
    assert (made[0] - made[1]).norm() < 0.05 * made[1].norm()


@pytest.fixture
def tempted(weights, neox):
    """A writer whose model wants, most of all, what it must not say: ends, padding, ids without a token."""
    weights["token_emb.weight"][unlearned(neox)] *= 40
    palm = from_reference("palm-8k", weights)
    writer = Engine(palm, neox, CONTEXT, BatchLimits(rows=2))
    yield writer
    writer.batch.close()


def unlearned(neox) -> list[int]:
    return [*neox.suppress_ids(), *range(len(neox), 320)]


def test_ends_padding_and_ids_without_a_token_are_never_said(tempted, neox, monkeypatch):
    prompt, said = neox.prefix_ids + neox.encode("the cat"), []
    with torch.no_grad():
        assert int(tempted.model(torch.tensor([prompt]))[0, -1].argmax()) in unlearned(neox)
    monkeypatch.setattr(neox, "decode", lambda ids: said.extend(ids) or "")
    for temperature in (0.0, 1.0):
        settings = GenerationConfig(temperature, seed=3, max_new_tokens=12)
        tempted.texts([prompt], tempted.model.prefill, settings)
    assert len(said) == 24 and not set(said) & set(unlearned(neox))


def test_texts_end_at_a_limit_or_before_a_stop_string(tempted, neox):
    prompt = neox.prefix_ids + neox.encode("the cat")

    def written(*stop: str) -> str:
        settings = GenerationConfig(temperature=1.0, seed=3, max_new_tokens=12, stop=stop)
        return "".join(tempted.stream(prompt, tempted.model.prefill, settings))

    whole = written()
    assert len(whole) > 4
    assert written(whole[3:5]) == whole[: whole.index(whole[3:5])]


def test_neox_texts_begin_behind_the_mark_between_texts_and_come_back_as_they_were(neox):
    for text in ("the  cat\n    sat", "naïve café 日本語 😀", "<|endoftext|> <|padding|>", ""):
        ids = neox.encode(text)
        assert neox.decode(ids) == text == "".join(neox.decode_stream(ids))
        assert not {neox.eos_id, neox.pad_id} & set(ids)
    assert neox.prefix_ids == [neox.eos_id] and neox.encode("    ") == [len(neox) - 1]


def test_a_tokenizer_of_another_model_is_refused(assets):
    with pytest.raises(CheckpointError, match=r"lacks the special tokens <\|endoftext\|>, <\|padding\|>"):
        NeoXTokenizer.load(assets / "tokenizer.json")
