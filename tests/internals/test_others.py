"""What we use of the Hub's client, transformers, spaces, lancedb, uvicorn, Ray and torch beyond what they
document does what we take it to do."""

import inspect
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import uvicorn
from transformers import Cache, DynamicCache, GPTNeoXConfig, MptConfig
from transformers.models.gpt_neox.modeling_gpt_neox import GPTNeoXModel, GPTNeoXRotaryEmbedding
from transformers.models.mpt.modeling_mpt import MptModel

from palm_demo.internals.http_protocol import RAY_CALLBACK, PatientProtocol, make_servers_patient
from palm_demo.internals.hub_client import HttpError, front_matter, matching
from palm_demo.models.attention import CausalMask
from palm_demo.models.hf_language_models import CacheAdapter, GPTNeoXBackbone
from palm_demo.models.kv_cache import KVCache
from palm_demo.models.packed_weights import state_of
from palm_demo.serving.zerogpu import WORKER_GONE


def test_the_hub_finds_front_matter_at_the_beginning_alone():
    assert front_matter("---\ntitle: x\n---\n# Page\n\n---\n").group(2) == "title: x"
    assert front_matter("# Page\n\n---\ntitle: x\n---\n") is None


def test_patterns_of_uploads_are_those_of_a_shell():
    names = ["app.py", "assets/a/b.png", "palm_demo/x.py", "tests/x.py"]
    assert matching(names, ["app.py", "assets/**", "palm_demo/*"]) == names[:3]


def test_the_hubs_client_raises_its_http_librarys_errors(monkeypatch):
    from huggingface_hub import HfApi

    with pytest.raises(HttpError):
        HfApi(endpoint="http://127.0.0.1:9", token=False).model_info("owner/name", timeout=5)


@pytest.mark.parametrize("method", ["update", "get_seq_length"])
def test_our_cache_takes_all_that_transformers_own_does(method):
    theirs = inspect.signature(getattr(Cache, method)).parameters
    ours = inspect.signature(getattr(CacheAdapter, method)).parameters
    takes_more = {one.kind for one in ours.values()} >= {inspect.Parameter.VAR_KEYWORD}
    assert takes_more or [*theirs] == [*ours]


def test_a_caches_update_takes_whatever_comes_beside_keys_and_values():
    keys, values = torch.randn(2, 1, 2, 3, 4)
    given = CacheAdapter(CausalMask()).update(
        keys, values, 0, {"cos": keys}, kwargs={}, cache_position=torch.arange(3)
    )
    assert given[0] is keys and given[1] is values


@pytest.mark.parametrize("kind", ["gpt_neox", "mpt"])
def test_blocks_of_transformers_take_our_cache_for_theirs(kind):
    """The same block, once with the cache of transformers and once with ours: the same states."""
    if kind == "gpt_neox":
        config = GPTNeoXConfig(
            vocab_size=32,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            attn_implementation="sdpa",
        )
        model = GPTNeoXModel(config).eval()
        block, frequencies = model.layers[0], GPTNeoXBackbone(config, 32)
        rotation = frequencies._rotation(torch.arange(5), torch.float32)
        theirs = GPTNeoXRotaryEmbedding(config)(torch.zeros(1), torch.arange(5)[None])
        torch.testing.assert_close(rotation, tuple(theirs))
        given = {"attention_mask": None, "position_embeddings": rotation}
    else:
        config = MptConfig(d_model=16, n_heads=2, n_layers=1, vocab_size=32, expansion_ratio=2)
        model = MptModel(config).eval()
        block = model.blocks[0]
        hidden = torch.ones(5, 5, dtype=torch.bool).triu(1)[None, None]
        given = {"attention_mask": hidden, "position_bias": model.build_mpt_alibi_tensor(2, 5)}
    states, ours = (
        torch.randn(1, 5, 16),
        CacheAdapter(KVCache(1, 1, 5, 8, torch.zeros(1), heads=2).extend_by(5)),
    )
    if kind == "gpt_neox":
        given["attention_mask"] = torch.ones(5, 5, dtype=torch.bool).tril()[None, None]
    with torch.no_grad():
        expected, got = (block(states, layer_past=past, **given) for past in (DynamicCache(), ours))
    expected, got = (out[0] if isinstance(out, tuple) else out for out in (expected, got))
    torch.testing.assert_close(got, expected)


def test_spaces_calls_the_end_of_a_worker_by_the_name_that_we_know():
    import spaces

    sources = Path(spaces.__file__).parent.rglob("*.py")
    assert any(f'"{WORKER_GONE}"' in source.read_text(encoding="utf-8") for source in sources)


def test_lancedb_tells_what_the_gallery_asks_of_it(tmp_path):
    import lancedb
    import pyarrow as pa

    database = lancedb.connect(tmp_path, session=lancedb.Session(1_000_000, 1_000_000))
    columns = pa.schema({"id": pa.string(), "caption": pa.string()})
    table = database.create_table("pictures", schema=columns, exist_ok=True)
    assert table.version == 1 and database.list_tables().tables == ["pictures"]
    merge = table.merge_insert("id").when_not_matched_insert_all()
    rows = pa.Table.from_pylist([{"id": "a", "caption": "a cat"}], schema=columns)
    assert [merge.execute(rows).num_inserted_rows for _ in range(2)] == [1, 0]
    other = lancedb.connect(tmp_path).open_table("pictures")
    other.add(pa.Table.from_pylist([{"id": "b", "caption": "a dog"}], schema=columns))
    table.checkout_latest()
    assert table.count_rows() == 2 and table.delete("id = 'a'").num_deleted_rows == 1


def test_torchs_operators_for_cpus_give_what_linear_gives():
    if not torch.backends.mkldnn.is_available() or "fbgemm" not in torch.backends.quantized.supported_engines:
        pytest.skip("a processor for which torch brings neither library")
    rows, weight = torch.randn(3, 64), torch.randn(32, 64)
    blocks = torch.ops.mkldnn._reorder_linear_weight(weight, 16)
    packed = torch.ops.mkldnn._linear_pointwise(rows, blocks, None, "none", [], "")
    torch.testing.assert_close(packed, F.linear(rows, weight), atol=1e-4, rtol=1e-4)
    panels = torch.ops.quantized.linear_prepack_fp16(weight, None)
    half = torch.ops.quantized.linear_dynamic_fp16(rows, panels)
    torch.testing.assert_close(half, F.linear(rows, weight.half().float()), atol=1e-3, rtol=1e-3)
    assert torch.ops.mkldnn._is_mkldnn_bf16_supported() in (True, False)


def test_torch_counts_the_changes_of_a_weight():
    weight = torch.zeros(2, 3)
    before = state_of(weight)
    assert state_of(weight) == before != state_of(weight.clone())
    weight[0].add_(1)  # through a view of it
    assert state_of(weight) != before
    with torch.inference_mode():
        assert state_of(torch.zeros(2))[-1] is None


def test_a_server_whose_protocol_nobody_chooses_is_patient(monkeypatch):
    """As Ray's proxy makes its own, after it has called what RAY_CALLBACK names."""
    monkeypatch.setitem(uvicorn.config.HTTP_PROTOCOLS, "auto", uvicorn.config.HTTP_PROTOCOLS["auto"])
    assert make_servers_patient() == []
    config = uvicorn.Config(lambda: None, factory=True)
    config.load()
    assert config.http_protocol_class is PatientProtocol


def test_ray_still_calls_what_its_variable_names():
    from ray.serve._private import constants  # slow to import; that it is there is part of the contract

    assert hasattr(constants, RAY_CALLBACK)
