"""Whole models with packed weights give what they gave, and have their weights in memory once."""

import copy
import subprocess
import sys

import pytest
import torch
from torch.testing import assert_close

from palm_demo.checkpoints import fingerprint
from palm_demo.models import packed_weights
from palm_demo.models.cpu_linear import Weights, pack_
from palm_demo.models.layers import MULTIMODAL, RLHF

every_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])


@every_dtype
@pytest.mark.parametrize("in_8_bits", [False, True], ids=["exact", "8 bits"])
@torch.no_grad()
def test_a_merge_into_a_packed_model_is_in_the_very_next_step(dtype, in_8_bits, new_palm, new_ids):
    palm = new_palm(RLHF)
    for weight in palm.parameters():
        weight.mul_(0.3)
    for weight in palm.add_scope("carroll", 3).parameters():
        weight.normal_(std=0.2)
    palm, ids = pack_(palm.to(dtype), in_8_bits), new_ids(1, 7)
    weights = {name: t.clone() for name, t in palm.decoder.state_dict().items()}
    _, cache = palm.prefill(ids[:, :6], [6], 9)
    alone = palm.decode_step(ids[:, 6], cache)
    for _ in range(3):
        _, cache = palm.prefill(ids[:, :6], [6], 9)
        palm.merge_scope("carroll")
        merged = palm.decode_step(ids[:, 6], cache)
        assert (merged - alone).abs().max() > 0.05
        palm.unmerge_scope("carroll")
        _, cache = palm.prefill(ids[:, :6], [6], 9)
        assert torch.equal(palm.decode_step(ids[:, 6], cache), alone)
    assert all(block.fused.packed for block in palm.decoder.blocks)
    assert all(torch.equal(t, weights[name]) for name, t in palm.decoder.state_dict().items())


@every_dtype
@pytest.mark.parametrize("style", [RLHF, MULTIMODAL], ids=lambda style: style.name)
@torch.no_grad()
def test_a_packed_model_gives_what_it_gave(dtype, style, new_palm, new_ids):
    palm = new_palm(style)
    for weight in palm.parameters():
        weight.mul_(0.3)
    palm, ids = palm.to(dtype), new_ids(2, 7)
    first, cache = palm.prefill(ids[:, :6], [6, 4], 9)
    then, marks = palm.decode_step(ids[:, 6], cache), fingerprint(Weights(palm.decoder))
    pack_(palm)
    again, cache = palm.prefill(ids[:, :6], [6, 4], 9)
    tolerance = 1e-5 if dtype == torch.float32 else 5e-2
    assert_close(again, first, atol=tolerance, rtol=0)
    assert_close(palm.decode_step(ids[:, 6], cache), then, atol=tolerance, rtol=0)
    assert again.dtype == torch.float32
    assert fingerprint(palm.decoder.state_dict()) == fingerprint(Weights(palm.decoder)) == marks


@pytest.mark.skipif(not packed_weights.ON_X86, reason="other processors multiply weights as they are")
@every_dtype
@torch.no_grad()
def test_a_model_in_8_bits_gives_nearly_what_it_gave(dtype, new_palm, new_ids):
    palm = new_palm(RLHF)
    for weight in palm.parameters():
        weight.mul_(0.3)
    palm, ids = palm.to(dtype), new_ids(2, 7)
    plain = palm(ids)
    rounded = pack_(palm, in_8_bits=True)(ids)
    assert not torch.equal(rounded, plain)
    assert (rounded - plain).norm() < 0.05 * plain.norm()
    assert all(isinstance(block.fused.stored(), packed_weights.Int8Weight) for block in palm.decoder.blocks)


@torch.no_grad()
def test_a_packed_head_follows_its_embedding(new_palm, new_ids):
    palm, ids = pack_(new_palm().bfloat16()), new_ids(1, 4)
    before = palm.prefill(ids, [4], 5)[0]
    palm.decoder.embedding.weight.mul_(2)
    changed = palm.prefill(ids, [4], 5)[0]
    assert_close(changed, pack_(copy.deepcopy(palm)).prefill(ids, [4], 5)[0], atol=5e-2, rtol=5e-2)
    assert (changed - before).abs().max() > 0.1
    assert_close(pack_(palm).prefill(ids, [4], 5)[0], changed, atol=5e-2, rtol=5e-2)


def test_a_scope_is_taught_through_packed_weights_as_through_plain_ones(new_palm, new_ids):
    palm, ids = new_palm(), new_ids(2, 6)
    adapter = palm.new_adapter(2, torch.Generator().manual_seed(1))
    for weight in adapter.parameters():
        weight.data.normal_(std=0.1)
    weights = list(adapter.parameters())
    plain = torch.autograd.grad(palm.loss(ids, ids, [adapter] * 2), weights)
    packed = torch.autograd.grad(pack_(palm).loss(ids, ids, [adapter] * 2), weights)
    for one, other in zip(packed, plain, strict=True):
        assert_close(one, other, atol=1e-4, rtol=1e-3)


MEMORY = """
import ctypes, gc, sys
import torch
from palm_demo.models.transformer import TransformerConfig
from palm_demo.models import PaLM
from palm_demo.models.layers import RLHF
from palm_demo.models.cpu_linear import pack_

torch.set_num_threads(2)
dtype, vocab, counted = getattr(torch, sys.argv[1]), int(sys.argv[2]), sys.argv[3]

def resident():
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what the C library keeps for its next allocation is no copy
    with open("/proc/self/status") as status:
        return 1024 * next(int(line.split()[1]) for line in status if line.startswith(counted + ":"))

def write(palm):
    with torch.inference_mode():
        _, cache = palm.prefill(torch.randint(palm.config.vocab, (2, 100)), [100, 80], 120)
        for _ in range(8):
            palm.decode_step(torch.randint(palm.config.vocab, (2,)), cache)

def random(size):
    with torch.device("meta"):
        palm = PaLM(size, RLHF).to(dtype)
    return palm.to_empty(device="cpu").requires_grad_(False)

def filled(palm):
    for weight in palm.parameters():
        for some in weight.view(-1).split(1_000_000):
            some.copy_(0.02 * torch.randn(len(some)))
    return palm

write(pack_(filled(random(TransformerConfig(64, 1, 2, 100, 32)))))  # what libraries claim once
before = resident()
palm = filled(random(TransformerConfig(1024, 4 if dtype == torch.bfloat16 else 2, 8, vocab, 64)))
weights = sum(p.nbytes for p in palm.parameters())
write(pack_(palm))
print(weights, resident() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads Linux's resident memory")
@pytest.mark.parametrize(
    ("dtype", "vocab", "counted"),
    [
        ("bfloat16", 2000, "VmRSS"),
        ("float32", 2000, "VmRSS"),
        # a third is embedding; of the file that it is read from, memory holds what nobody else wants
        ("bfloat16", 30_000, "RssAnon"),
    ],
)
def test_a_model_that_writes_has_its_weights_in_memory_once(dtype, vocab, counted):
    command = [sys.executable, "-c", MEMORY, dtype, str(vocab), counted]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout
    weights, grown = map(int, told.split())
    assert weights > 80e6
    assert grown <= 1.15 * weights


def test_a_session_on_a_cpu_has_its_weights_packed(session):
    assert all(block.fused.packed for block in session.palm.model.decoder.blocks) == packed_weights.ON_X86
