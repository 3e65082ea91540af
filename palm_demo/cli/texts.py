"""PaLM's verbs: `generate`, `bits-per-byte`, `who-wrote`, `tokens`, `finetune`, `scopes`."""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from tqdm import tqdm

from palm_demo.cli.output import add_verb, opened, show
from palm_demo.errors import FinetuningError, PromptError, ScopeError
from palm_demo.inference.lora_finetuning import FinetuningConfig, Progress
from palm_demo.models.lora import Scope
from palm_demo.session import CONTINUED, Session

FILE = ".safetensors"

SAMPLING = {
    "max_new_tokens": "",
    "temperature": "0 takes the likeliest",
    "top_k": "0 keeps all tokens",
    "top_p": "1 keeps all tokens",
    "repetition_penalty": "1 is none",
}
"""The options that a text is written with, and what is worth saying of each."""


def add_verbs(verbs) -> None:
    generate = add_verb(verbs, "generate", _generate, "write on from the beginning of a text")
    generate.add_argument("prompt", help="the beginning; - reads it from standard input")
    add_sampling_options(generate, CONTINUED)
    _add_scope_option(generate)

    bits = add_verb(
        verbs, "bits-per-byte", _bits_per_byte, "say how well PaLM predicts a text: lower is better"
    )
    who = add_verb(verbs, "who-wrote", _who_wrote, "say which scope's author a text is likeliest by")
    tokens = add_verb(verbs, "tokens", _tokens, "show how probable each token was, and five alternatives")
    for reading in (bits, who, tokens):
        reading.add_argument("file", type=Path, help="a text in UTF-8; - reads standard input")
    for scoped in (bits, tokens):
        _add_scope_option(scoped)

    finetune = add_verb(
        verbs, "finetune", _teach, "teach a scope of your own a text; Ctrl-C ends it and keeps the best"
    )
    finetune.add_argument("file", type=Path, help="a text in UTF-8; - reads standard input")
    finetune.add_argument("--out", type=Path, required=True, help=f"where the scope goes, a {FILE} file")
    for field in fields(FinetuningConfig):
        _add_setting(finetune, field.name, field.default)

    add_verb(verbs, "scopes", _scopes, "list the scopes that --scope takes")


def add_sampling_options(parser: argparse.ArgumentParser, settings) -> None:
    """Options for the fields of TextSettings, by default those of `settings`."""
    for name, meaning in SAMPLING.items():
        _add_setting(parser, name, getattr(settings, name), meaning)
    parser.add_argument("--stop", action="append", default=[], help="a text to end before; may be repeated")
    parser.add_argument("--seed", type=int, help="the same one writes the same")


def sampling_of(given: argparse.Namespace) -> dict:
    return {name: getattr(given, name) for name in (*SAMPLING, "stop", "seed")}


def _add_setting(parser: argparse.ArgumentParser, name: str, value: float, meaning: str = "") -> None:
    """An option of the type of `value`, which it has by default."""
    option = f"--{name.replace('_', '-')}"
    parser.add_argument(option, type=type(value), default=value, help=f"{meaning} ({value:g})".lstrip())


def _add_scope_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--scope",
        action="append",
        default=[],
        metavar="NAME[=STRENGTH]",
        help=f"a scope's name, or a {FILE} file that `finetune` wrote; else the base. Given several times, a "
        "mix; a strength of 1 is as it was taught, below 0 is the other way",
    )


def _scope(session: Session, given: argparse.Namespace) -> Scope:
    """What the options name. Raises ScopeError on a strength that is no number, a scope named twice."""
    mix = {}
    for option in given.scope:
        name, strength = _named(option)
        if name in mix:
            raise ScopeError(f"--scope names {name} twice; add the strengths up")
        mix[name] = strength
    loaded = {session.load_adapter(n) if n.endswith(FILE) else n: strength for n, strength in mix.items()}
    if list(loaded.values()) == [1.0]:
        return next(iter(loaded))
    return loaded or None


def _named(option: str) -> tuple[str, float]:
    name, equals, strength = option.rpartition("=")
    if not equals:
        return option, 1.0
    try:
        return name, float(strength)
    except ValueError as error:
        raise ScopeError(
            f"--scope {option}: {strength!r} is no strength; give a number, such as 0.5"
        ) from error


def _asked(given: argparse.Namespace) -> str | dict[str, float] | None:
    """The scope or mix of the options, as JSON says it."""
    mix = dict(map(_named, given.scope))
    return next(iter(mix)) if list(mix.values()) == [1.0] else mix or None


def _read(file: Path) -> str:
    """The text of a file. Raises PromptError where there is none, or it is not UTF-8."""
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise PromptError(f"{file} cannot be read as a text in UTF-8: {error}") from error


def _generate(given: argparse.Namespace) -> None:
    session = opened(given)
    prompt = sys.stdin.read().rstrip("\n") if given.prompt == "-" else given.prompt
    deltas = session.stream(prompt, _scope(session, given), **sampling_of(given))
    if given.json:
        text = "".join(deltas)
        return show(given, {"prompt": prompt, "scope": _asked(given), "text": text}, [])
    print(prompt, end="", flush=True)
    for delta in deltas:
        print(delta, end="", flush=True)
    print()


def _bits_per_byte(given: argparse.Namespace) -> None:
    session, text = opened(given), _read(given.file)
    bits = session.bits_per_byte(text, _scope(session, given))
    show(given, {"scope": _asked(given), "bits_per_byte": bits}, [f"{bits:.4f} bits per byte"])


def _who_wrote(given: argparse.Namespace) -> None:
    chances = opened(given).who_wrote(_read(given.file))
    best_first = sorted(chances.items(), key=lambda of_scope: -of_scope[1])
    show(given, chances, [f"{chance:7.2%}  {name}" for name, chance in best_first])


def _tokens(given: argparse.Namespace) -> None:
    session, text = opened(given), _read(given.file)
    tokens = session.token_probabilities(text, _scope(session, given))
    document = [
        {"text": token.text, "probability": token.probability, "alternatives": token.alternatives}
        for token in tokens
    ]
    lines = [
        f"{token.probability:7.2%}  {token.text!r:16} {', '.join(repr(o) for o, _ in token.alternatives)}"
        for token in tokens
    ]
    show(given, document, lines)


def _teach(given: argparse.Namespace) -> None:
    if given.out.suffix != FILE:
        raise FinetuningError(f"{given.out} does not end in {FILE}; that is what a scope's file is called")
    session, text = opened(given), _read(given.file)
    settings = {field.name: getattr(given, field.name) for field in fields(FinetuningConfig)}
    last = _watched(session.finetune(text, **settings), given.steps)
    if last.best >= last.base:
        raise FinetuningError(f"nothing was gained in {last.step} steps; give a longer text or more seconds")
    session.save_adapter(last.adapter, given.out)
    document = {"scope": str(given.out), "steps": last.step, "base": last.base, "bits_per_byte": last.best}
    gain = 1 - last.best / last.base
    line = f"{given.out}: {last.base:.4f} bits per byte became {last.best:.4f}, {gain:.1%} fewer"
    show(given, document, [line])


def _watched(progress: Iterator[Progress], steps: int) -> Progress:
    """Where the teaching ended, by itself or by Ctrl-C."""
    last = None
    with tqdm(total=steps, unit=" steps", disable=None) as bar:
        try:
            for last in progress:
                bar.update(last.step - bar.n)
                bar.set_postfix_str(f"{last.best:.4f} of {last.base:.4f} bits per byte")
        except KeyboardInterrupt:
            if last is None:
                raise
    return last


def _scopes(given: argparse.Namespace) -> None:
    names = opened(given).scopes
    show(given, names, names)
