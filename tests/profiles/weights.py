"""Random weights in the published layouts, a few numbers wide, as the files that the Hub has of them."""

import io
import json

import tokenizers
import torch
from safetensors.torch import save
from tokenizers import decoders, models, pre_tokenizers, trainers
from torch import Tensor

from palm_demo.models.clip_captioners import new_coca
from palm_demo.models.tokenizers import ClipTokenizer
from palm_demo.models.transformer import TransformerConfig
from palm_demo.models.vision import ViTConfig
from tests.checkpoints.released import plain_openflamingo, plain_openmammut, test_palm
from tests.hub import Hub

KIND = "gpt_neox"
WORDS = 300
HEADS, TEXT_HEADS = plain_openmammut.HEADS, plain_openmammut.TEXT_HEADS
COCA_HEADS = {"heads": 4, "text_heads": 2, "pool_heads": 3}

PROFILE = """
version: 1
palm:
  small:
    name: PaLM small
    trained_on: nothing
    knows: nothing
    layout: palm-8k
    weights: {repo: them/palm, file: palm.pt}
    tokenizer: {repo: them/words, file: tokenizer.json}
    dtype: float32
    device: cpu
    context: 128
    rows: 2
    memory_gb: 0.1
flamingo:
  small:
    name: OpenFlamingo small
    trained_on: nothing
    knows: nothing
    layout: openflamingo
    weights: {repo: them/flamingo, file: checkpoint.pt}
    language_model: {repo: them/lm, file: model.safetensors.index.json}
    config: {repo: them/lm, file: config.json}
    tokenizer: {repo: them/words, file: tokenizer.json}
    tower:
      weights: {repo: them/clip, file: open_clip_model.safetensors}
      heads: 2
      activation: quick_gelu
    every: 2
    heads: 2
    frames: 3
    dtype: float32
    device: cpu
    context: 64
    rows: 2
    memory_gb: 0.1
mammut:
  small:
    name: openMaMMUT small
    trained_on: nothing
    knows: nothing
    layout: openmammut
    weights: {repo: them/mammut, file: open_clip_pytorch_model.bin}
    heads: 4
    text_heads: 2
    dtype: float32
    device: cpu
    rows: 2
    memory_gb: 0.1
  coca:
    name: CoCa small
    trained_on: nothing
    knows: nothing
    layout: coca
    weights: {repo: them/coca, file: open_clip_pytorch_model.bin}
    heads: 4
    text_heads: 2
    pool_heads: 3
    dtype: float32
    device: cpu
    rows: 2
    memory_gb: 0.1
"""


def publish(hub: Hub) -> None:
    """Puts all files of PROFILE there, always the same."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        hub.models |= {
            "them/words": {"tokenizer.json": tokenizer().to_str().encode()},
            "them/palm": {"palm.pt": pickled(test_palm.tensors(vocab=WORDS + 20))},
            "them/flamingo": {"checkpoint.pt": pickled(checkpoint())},
            "them/lm": language_model(),
            "them/clip": {"open_clip_model.safetensors": save(clip())},
            "them/mammut": {"open_clip_pytorch_model.bin": pickled(mammut())},
            "them/coca": {"open_clip_pytorch_model.bin": pickled({"state_dict": coca()})},
        }


def pickled(content: dict) -> bytes:
    with io.BytesIO() as file:
        torch.save(content, file)
        return file.getvalue()


def tokenizer() -> tokenizers.Tokenizer:
    """Built as GPT-NeoX's is."""
    bpe = tokenizers.Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=WORDS,
        special_tokens=["<|endoftext|>", "<|padding|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(["the cat and the dog and the hat"] * 9, trainer)
    return bpe


def rows() -> int:
    """Of OpenFlamingo's embedding: three tokens were added."""
    return tokenizer().get_vocab_size() + 3


def checkpoint() -> dict[str, Tensor]:
    """What OpenFlamingo trained, in the wrapping of its training script."""
    resized = plain_openflamingo.language_model(KIND, rows()).state_dict()
    tensors = plain_openflamingo.trained(KIND)
    tensors["lang_encoder.gpt_neox.embed_in.weight"] = resized["gpt_neox.embed_in.weight"]
    tensors["lang_encoder.embed_out.weight"] = resized["lm_head.weight"]
    return {"model_state_dict": {f"module.{name}": tensor for name, tensor in tensors.items()}}


def language_model() -> dict[str, bytes]:
    """Its config, its weights in two files, and their index."""
    model = plain_openflamingo.language_model(KIND, WORDS)
    tensors = {name.replace("lm_head", "embed_out"): t.clone() for name, t in model.state_dict().items()}
    shards = {"a.safetensors": {}, "b.safetensors": {}}
    for place, name in enumerate(sorted(tensors)):
        shards["ab"[place % 2] + ".safetensors"][name] = tensors[name]
    index = {"weight_map": {name: shard for shard, some in shards.items() for name in some}}
    return {
        "config.json": json.dumps(plain_openflamingo.lm_config(KIND, WORDS).to_dict()).encode(),
        "model.safetensors.index.json": json.dumps(index).encode(),
        **{shard: save(some) for shard, some in shards.items()},
    }


def clip() -> dict[str, Tensor]:
    """A whole CLIP, of which Flamingo takes the picture half."""
    return plain_openmammut.tensors(width=plain_openflamingo.DIM_MEDIA, depth=2)


def mammut() -> dict[str, Tensor]:
    return plain_openmammut.tensors(vocab=len(ClipTokenizer()), context=40)


def coca() -> dict[str, Tensor]:
    vit = ViTConfig(image_size=8, patch_size=4, dim=32, depth=2, heads=4, ff_mult=4, dim_latents=24)
    text = TransformerConfig(dim=24, depth=2, heads=2, vocab=len(ClipTokenizer()), dim_head=12)
    made = new_coca(vit, 5, COCA_HEADS["pool_heads"], text, context=40, decoder_depth=2)
    torch.nn.init.normal_(made.text_decoder.text_projection, std=0.1)  # open_clip leaves what memory held
    return made.state_dict()
