"""A Space installs the versions that were tested together, from one file."""

from packaging.requirements import Requirement

from palm_demo.settings import SPACEFILE
from palm_demo.space.checkout import Checkout
from palm_demo.space.lock import resolved
from tests.hub import OWNER


def versions(folder) -> list[str]:
    """The lines of what goes to the Space of a checkout: one that tests change, or this repository."""
    return [line for line in resolved(Checkout(folder.root)).splitlines() if not line.startswith("#")]


def test_what_is_uploaded_names_a_version_of_everything_and_of_nothing_else(folder, hub):
    assert folder.run("deploy") == 0
    text = hub.spaces[f"{OWNER}/palm-demo"].files["requirements.txt"].content.decode()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert lines == ["gradio==6.31.0", "orjson==3.13.0", "yarl==1.25.1"]
    assert "-c" not in text and folder.root.joinpath("requirements.txt").read_text() != text


def test_versions_are_those_for_the_python_of_the_space(folder):
    folder.change("Spacefile", 'python: "3.12"', 'python: "3.10"')
    assert versions(folder) == ["gradio==6.31.0", "orjson==3.11.0", "tomli==2.5.0", "yarl==1.25.1"]


def test_a_requirement_for_another_python_is_left_out_and_extras_stay(folder):
    folder.write(
        "requirements.txt",
        "Gradio[oauth]>=6.31,<7  # the page\ntransformers>=5.20\ntomli>=2; python_version < '3.11'\n",
    )
    wanted = ["Gradio[oauth]==6.31.0", "transformers==5.24.0"]
    assert versions(folder) == [*wanted, "orjson==3.13.0", "regex==2026.11.19", "yarl==1.25.1"]


def test_torch_keeps_its_range_except_on_zerogpu(folder):
    folder.write("requirements.txt", "torch>=2.8,<2.15\ntorchvision>=0.23\ngradio>=6.31,<7\n")
    torch = next(Requirement(line) for line in versions(folder) if line.startswith("torch<"))
    assert torch.specifier == Requirement("torch>=2.8,<2.15").specifier
    assert "sympy==1.14.0" in versions(folder)
    folder.change("Spacefile", "request: cpu-basic", "request: zero-a10g")
    assert "torch==2.11.0" in versions(folder) and "torchvision>=0.23" in versions(folder)
    folder.change("requirements.txt", "<2.15", "<2.10")
    assert "torch==2.9.1" in versions(folder)


def test_this_repository_locks_all_that_its_page_needs():
    names = {Requirement(line).name for line in versions(Checkout(SPACEFILE.parent))}
    assert {"starlette", "pydantic", "uvicorn", "timm", "PyYAML"} <= names
    assert not names & {"pytest", "ray", "playwright", "nvidia-cublas", "triton", "uv"}
