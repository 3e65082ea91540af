"""Weights of the references, there and back, and what is refused."""

import pytest
import torch
from torch import nn

from palm_demo.checkpoints import from_reference, to_reference
from palm_demo.errors import CheckpointError
from palm_demo.models.layers import RLHF_QK_NORM

from .conftest import REFERENCES, SIZE, Encoder

ARGUMENTS = {
    "palm-rlhf-pytorch": {"qk_rmsnorm": True, "finetune_scopes": ("prose",)},
    "toolformer-pytorch": {},
    "flamingo-pytorch": {"img_encoder": Encoder(32), "max_video_frames": 4},
    "mammut-pytorch": {"img_encoder": Encoder(32), "num_img_queries": 6},
}
every_layout = pytest.mark.parametrize("layout", ARGUMENTS)


def tensors_of(layout: str) -> tuple[dict, dict]:
    arguments = SIZE | ARGUMENTS[layout]
    return dict(REFERENCES[layout](**arguments).state_dict()), arguments


@every_layout
def test_weights_come_back_as_they_went_in(layout, twins):
    reference, ours = twins(layout, **ARGUMENTS[layout])
    back = to_reference(layout, ours)
    assert back.keys() == reference.state_dict().keys()
    for name, tensor in reference.state_dict().items():
        assert torch.equal(back[name], tensor), name


@every_layout
def test_the_model_comes_in_the_dtype_of_the_weights(layout):
    tensors, arguments = tensors_of(layout)
    halves = {name: t.bfloat16() for name, t in tensors.items()}
    ours = from_reference(layout, halves, **arguments)
    assert {p.dtype for p in ours.parameters()} == {torch.bfloat16}
    assert not ours.training


@every_layout
def test_a_missing_an_unexpected_and_a_misshapen_tensor_are_named(layout):
    tensors, arguments = tensors_of(layout)
    first = next(name for name in tensors if name.endswith("attn_out.weight"))
    without = {name: t for name, t in tensors.items() if name != first}
    with pytest.raises(CheckpointError, match=f"missing: {first}"):
        from_reference(layout, without, **arguments)
    with pytest.raises(CheckpointError, match="unexpected: surprise"):
        from_reference(layout, tensors | {"surprise": torch.zeros(1)}, **arguments)
    with pytest.raises(CheckpointError, match=rf"wrong shape: {first} is \(2, 3\), not"):
        from_reference(layout, tensors | {first: torch.zeros(2, 3)}, **arguments)


@pytest.mark.parametrize(
    ("layout", "other"),
    [
        ("palm-rlhf-pytorch", "toolformer-pytorch"),
        ("toolformer-pytorch", "palm-rlhf-pytorch"),
        ("palm-rlhf-pytorch", "mammut-pytorch"),
    ],
)
def test_weights_of_another_layout_are_refused_and_recognized(layout, other):
    tensors, _ = tensors_of(other)
    with pytest.raises(CheckpointError, match=f"do not fit {layout}, but rather {other}: missing: "):
        from_reference(layout, tensors, **SIZE)


def test_an_unknown_layout_is_refused_with_those_there_are():
    with pytest.raises(CheckpointError, match="no layout 'gpt'; there are: palm-rlhf-pytorch, tool"):
        from_reference("gpt", {})
    with pytest.raises(CheckpointError, match="no layout 'gpt'"):
        to_reference("gpt", torch.nn.Linear(1, 1))


@every_layout
def test_a_model_is_not_written_in_a_layout_of_another(layout, twins):
    _, ours = twins(layout, **ARGUMENTS[layout])
    for other in ARGUMENTS.keys() - {layout}:
        with pytest.raises(CheckpointError, match=f"cannot be written as {other}"):
            to_reference(other, ours)


@pytest.mark.parametrize("layout", ["flamingo-pytorch", "mammut-pytorch", "palm-rlhf-pytorch"])
def test_a_model_of_better_parts_is_not_written_as_if_it_had_the_references(
    layout, new_flamingo, new_mammut, new_palm
):
    better = {
        "flamingo-pytorch": new_flamingo,
        "mammut-pytorch": new_mammut,
        "palm-rlhf-pytorch": lambda: new_palm(RLHF_QK_NORM),
    }
    with pytest.raises(CheckpointError, match=f"cannot be written as {layout}"):
        to_reference(layout, better[layout]())


def test_a_shift_or_an_untied_head_is_another_models():
    tensors, arguments = tensors_of("palm-rlhf-pytorch")
    with pytest.raises(CheckpointError, match=r"norm\.beta is not zero"):
        from_reference("palm-rlhf-pytorch", tensors | {"norm.beta": torch.ones(32)}, **arguments)
    with pytest.raises(CheckpointError, match=r"to_logits\.weight is not token_emb\.weight"):
        from_reference("palm-rlhf-pytorch", tensors | {"to_logits.weight": torch.ones(48, 32)}, **arguments)


def test_the_callers_encoder_is_left_alone():
    tensors, arguments = tensors_of("flamingo-pytorch")
    encoder = Encoder(32).train()
    before = encoder.to_patches.weight.clone()
    from_reference("flamingo-pytorch", tensors, **arguments | {"img_encoder": encoder})
    assert torch.equal(encoder.to_patches.weight, before) and encoder.training
    assert encoder.to_patches.weight.requires_grad


def test_a_media_token_of_its_own_is_both_input_and_output_row_of_the_reference(twins):
    _, ours = twins("flamingo-pytorch", **ARGUMENTS["flamingo-pytorch"])
    with torch.no_grad():
        ours.media_embedding.add_(1.0)
    back = to_reference("flamingo-pytorch", ours)
    assert torch.equal(back["token_emb.weight"][ours.media_token_id], ours.media_embedding)
    again = from_reference("flamingo-pytorch", back, **SIZE | ARGUMENTS["flamingo-pytorch"])
    assert torch.equal(again.media_embedding, ours.media_embedding)


class OddEncoder(Encoder):
    """Its tensors are called as the references call theirs."""

    def __init__(self, dim: int):
        super().__init__(dim)
        self.norm = nn.Module()
        self.norm.gamma, self.norm.beta = nn.Parameter(torch.randn(dim)), nn.Parameter(torch.randn(dim))
        self.layers = nn.ModuleDict({name: nn.Linear(dim, dim) for name in ("fused", "attention_out", "up")})
        self.fused_attn_ff_proj = nn.Linear(dim, dim)


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("layout", ["flamingo-pytorch", "mammut-pytorch"])
def test_an_encoders_tensors_are_its_own_whatever_they_are_called(layout, offset):
    encoder = OddEncoder(SIZE["dim"])
    arguments = SIZE | ARGUMENTS[layout] | {"img_encoder": encoder}
    given = {name: t.clone() for name, t in REFERENCES[layout](**arguments).state_dict().items()}
    ours = from_reference(layout, given, gamma_offset=offset, **arguments)
    back = to_reference(layout, ours, gamma_offset=offset)
    tower = {name for name in given if name.startswith("img_encoder.")}
    assert len(tower) == len(encoder.state_dict()) and back.keys() == given.keys()
    owned = {name.partition("tower.")[2]: t for name, t in ours.state_dict().items() if "tower." in name}
    for name in tower:
        assert torch.equal(back[name], given[name]), name
        assert torch.equal(owned[name.removeprefix("img_encoder.")], given[name]), name


def test_scopes_of_a_checkpoint_come_with_it_unasked_each_of_its_rank():
    _, arguments = tensors_of("palm-rlhf-pytorch")
    reference = REFERENCES["palm-rlhf-pytorch"](**arguments)
    reference.add_finetune_params("verse", lora_r=3)
    unasked = arguments | {"finetune_scopes": ()}
    ours = from_reference("palm-rlhf-pytorch", reference.state_dict(), **unasked)
    assert {name: ours.scopes[name].rank for name in ours.scopes.names} == {"prose": 8, "verse": 3}


def test_a_merged_scope_is_written_as_part_of_the_weights(twins, text):
    reference, ours = twins("palm-rlhf-pytorch", finetune_scopes=("prose",))
    ours.merge_scope("prose")
    reference.merge_finetune_params("prose")
    reference.load_state_dict(to_reference("palm-rlhf-pytorch", ours))
    ids = text(1, 9)
    torch.testing.assert_close(reference(ids), ours(ids), atol=1e-5, rtol=0)


def test_a_merged_mix_is_written_as_part_of_the_weights(twins, text):
    reference, ours = twins("palm-rlhf-pytorch", finetune_scopes=("prose", "verse"))
    ours.merge_scope({"prose": 0.7})
    written = to_reference("palm-rlhf-pytorch", ours)
    assert {name.split(".")[1] for name in written if name.startswith("finetune_modules")} == {"verse"}
    reference.load_state_dict(written, strict=False)
    ids = text(1, 9)
    torch.testing.assert_close(reference(ids), ours(ids), atol=1e-5, rtol=0)
