"""What `serve` says where it cannot serve. What it serves is tested in tests/serving."""

import signal
import sys
from contextlib import contextmanager
from dataclasses import fields
from types import SimpleNamespace

import pytest

from palm_demo.errors import ClusterError
from palm_demo.gallery import MEMORY
from palm_demo.serving import local
from palm_demo.serving.ray_app import running
from palm_demo.settings import SPACEFILE, ServeOptions, load_settings


@pytest.fixture(autouse=True)
def no_gallery(monkeypatch):
    monkeypatch.setenv("PALM_DEMO_GALLERY", MEMORY)


def test_without_an_engine_it_is_the_page_of_app(run, monkeypatch):
    served = []
    monkeypatch.setattr(local, "serve", lambda spacefile, **given: served.append((spacefile, given)))
    run("serve", "--profile", "hub", "--port", "8000", "--mcp")
    ((spacefile, given),) = served
    assert spacefile == SPACEFILE
    chosen = {name: value for name, value in given.items() if value is not None}
    assert chosen == {"profile": "hub", "port": 8000, "mcp": True}


def test_every_option_of_the_page_is_one_of_the_command(run):
    told = run("serve", "--help")
    for field in fields(ServeOptions):
        assert f"--{field.name}" in told
    assert "PORT" in told and "PALM_DEMO_PROFILE" in told


def test_a_port_that_is_none_is_refused_before_anything_is_read(invoke, monkeypatch):
    monkeypatch.setenv("PORT", "soon")
    ended = invoke("serve", "--spacefile", "nowhere")
    assert ended.exit_code == 2 and "PORT is 'soon'; give a whole number" in ended.stderr


def test_a_spacefile_of_ones_own_is_read_before_anything_is_served(invoke, tmp_path):
    own = tmp_path / "own"
    own.write_text(SPACEFILE.read_text(encoding="utf-8").replace("hits: 24", "hits: many"), encoding="utf-8")
    for engine in ("local", "ray"):
        ended = invoke("serve", "--engine", engine, "--spacefile", own)
        assert ended.exit_code == 2 and "own:" in ended.stderr and "limits.hits" in ended.stderr


def test_ctrl_c_and_sigterm_end_the_replicas_without_a_word(run, monkeypatch):
    handlers, ended = [], []

    @contextmanager
    def interrupted(*arguments):
        handlers.append(signal.getsignal(signal.SIGTERM))
        try:
            yield "http://127.0.0.1:7860"
        finally:
            ended.append(True)

    def wait():
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("palm_demo.serving.ray_app.running", interrupted)
    monkeypatch.setattr(
        "palm_demo.cli.serving.threading", SimpleNamespace(Event=lambda: SimpleNamespace(wait=wait))
    )
    assert "the page is at http://127.0.0.1:7860" in run("serve", "--engine", "ray")
    assert handlers == [signal.default_int_handler] and ended == [True]
    assert signal.getsignal(signal.SIGTERM) is before


def test_without_ray_the_remedy_is_told(invoke, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert 'pip install -e ".[ray]" in the checkout' in invoke("serve", "--engine", "ray").stderr


def test_no_replicas_are_refused(invoke):
    ended = invoke("serve", "--engine", "ray", "--replicas", "0")
    assert "--replicas is '0'; give a number above 0" in ended.stderr and ended.exit_code == 2


def test_a_cluster_that_is_too_small_is_refused(monkeypatch):
    small = SimpleNamespace(is_initialized=lambda: True, cluster_resources=lambda: {"CPU": 3.0})
    monkeypatch.setitem(sys.modules, "ray", small)
    with (
        pytest.raises(ClusterError, match="2 replicas of 2 cores need 4 and the cluster has 3"),
        running(dict, load_settings(), MEMORY, replicas=2, cpus=2),
    ):
        raise AssertionError("it was served")
