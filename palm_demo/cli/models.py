"""The commands of the three models: PaLM's about texts, Flamingo's and MaMMUT's about pictures."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from palm_demo.cli import folders
from palm_demo.cli.output import TINY, AsJson, Profile, open_session, progress, read_text, show
from palm_demo.commands import LEFT_OUT
from palm_demo.errors import FinetuningError, MediaError, PromptError, ScopeError
from palm_demo.inference.settings import ANSWERED, CONTINUED, FinetuningConfig

if TYPE_CHECKING:
    from palm_demo.inference.lora_finetuning import Progress
    from palm_demo.models.lora import Scope
    from palm_demo.session import Session

SUFFIX = ".safetensors"

MaxNewTokens = Annotated[int, typer.Option(help="The most tokens.")]
Temperature = Annotated[float, typer.Option(help="0 takes the likeliest token.")]
TopK = Annotated[int, typer.Option(help="0 keeps all tokens.")]
TopP = Annotated[float, typer.Option(help="1 keeps all tokens.")]
MinP = Annotated[float, typer.Option(help="Leaves out what is less likely than this part of the likeliest.")]
RepetitionPenalty = Annotated[float, typer.Option(help="1 is none.")]
Stop = Annotated[list[str] | None, typer.Option(help="A text to end before; may be repeated.")]
Choice = Annotated[
    list[str] | None, typer.Option(help="An answer to choose among; is repeated. Any answer by default.")
]
Seed = Annotated[int | None, typer.Option(help="The same one writes the same.")]
Scopes = Annotated[
    list[str] | None,
    typer.Option(
        "--scope",
        metavar="NAME[=STRENGTH]",
        help=f"A scope's name, or a {SUFFIX} file that `finetune` wrote; else the base. Given several times, "
        "a mix; a strength of 1 is as trained, below 0 is the opposite.",
    ),
]
TextFile = Annotated[
    Path, typer.Argument(metavar="FILE", help="A text in UTF-8; - reads standard input.", allow_dash=True)
]
Images = Annotated[
    list[Path],
    typer.Argument(
        metavar="IMAGE…", help="Picture files, and folders or ZIP archives of them.", show_default=False
    ),
]


def generate(
    prompt: Annotated[str, typer.Argument(help="The beginning; - reads it from standard input.")],
    max_new_tokens: MaxNewTokens = CONTINUED.max_new_tokens,
    temperature: Temperature = CONTINUED.temperature,
    top_k: TopK = CONTINUED.top_k,
    top_p: TopP = CONTINUED.top_p,
    min_p: MinP = CONTINUED.min_p,
    repetition_penalty: RepetitionPenalty = CONTINUED.repetition_penalty,
    stop: Stop = None,
    seed: Seed = None,
    scope: Scopes = None,
    profile: Profile = TINY,
    as_json: AsJson = False,
) -> None:
    """Continue the beginning of a text."""
    mix = _mix(scope)
    session = open_session(profile)
    prompt = read_text(Path("-")).rstrip("\n") if prompt == "-" else prompt
    deltas = session.stream(
        prompt,
        _loaded(session, mix),
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        stop=stop or [],
        seed=seed,
    )
    if as_json:
        return show(True, {"prompt": prompt, "scope": _named(mix), "text": "".join(deltas)}, [])
    print(prompt, end="", flush=True)
    for delta in deltas:
        print(delta, end="", flush=True)
    print()


def bits_per_byte(
    file: TextFile, scope: Scopes = None, profile: Profile = TINY, as_json: AsJson = False
) -> None:
    """Say how well PaLM predicts a text: lower is better."""
    text, mix = read_text(file), _mix(scope)
    session = open_session(profile)
    bits = session.bits_per_byte(text, _loaded(session, mix))
    show(as_json, {"scope": _named(mix), "bits_per_byte": bits}, [f"{bits:.4f} bits per byte"])


def who_wrote(file: TextFile, profile: Profile = TINY, as_json: AsJson = False) -> None:
    """Say which scope's author most likely wrote a text."""
    text = read_text(file)
    probabilities = open_session(profile).who_wrote(text)
    show(as_json, probabilities, _best_first(probabilities))


def tokens(file: TextFile, scope: Scopes = None, profile: Profile = TINY, as_json: AsJson = False) -> None:
    """Show how probable each token of a text was, and five alternatives."""
    text, mix = read_text(file), _mix(scope)
    session = open_session(profile)
    found = session.token_probabilities(text, _loaded(session, mix))
    document = [
        {"text": token.text, "probability": token.probability, "alternatives": token.alternatives}
        for token in found
    ]
    lines = [
        f"{token.probability:7.2%}  {token.text!r:16} {', '.join(repr(o) for o, _ in token.alternatives)}"
        for token in found
    ]
    show(as_json, document, lines)


def finetune(
    file: TextFile,
    out: Annotated[Path, typer.Option(metavar="FILE", help=f"The {SUFFIX} file to write.")],
    rank: Annotated[int, typer.Option(help="Rank of the LoRA matrices.")] = FinetuningConfig.rank,
    steps: Annotated[int, typer.Option(help="The most steps.")] = FinetuningConfig.steps,
    seconds: Annotated[float, typer.Option(help="The most seconds.")] = FinetuningConfig.seconds,
    learning_rate: Annotated[float, typer.Option(help="Of Adam.")] = FinetuningConfig.learning_rate,
    batch: Annotated[int, typer.Option(help="Windows of the text in a step.")] = FinetuningConfig.batch,
    window: Annotated[int, typer.Option(help="Tokens of a window.")] = FinetuningConfig.window,
    eval_steps: Annotated[
        int, typer.Option(help="Steps between two evaluations on the text's last tenth.")
    ] = FinetuningConfig.eval_steps,
    patience: Annotated[
        int, typer.Option(help="Evaluations without a gain after which it ends.")
    ] = FinetuningConfig.patience,
    seed: int = FinetuningConfig.seed,
    profile: Profile = TINY,
    as_json: AsJson = False,
) -> None:
    """Fine-tune a scope of your own on a text. Ctrl-C ends it and keeps the best."""
    if out.suffix != SUFFIX:
        raise FinetuningError(
            f"{out} does not end in {SUFFIX}; that is what a scope's file is called, name one so"
        )
    folders.check_writable(out)
    text = read_text(file)
    session = open_session(profile)
    learning = session.finetune(
        text,
        rank=rank,
        steps=steps,
        seconds=seconds,
        learning_rate=learning_rate,
        batch=batch,
        window=window,
        eval_steps=eval_steps,
        patience=patience,
        seed=seed,
    )
    last = _watched(learning, steps)
    if last.best >= last.base:
        raise FinetuningError(f"nothing was gained in {last.step} steps; give a longer text or more seconds")
    session.save_adapter(last.adapter, out)
    document = {"scope": str(out), "steps": last.step, "base": last.base, "bits_per_byte": last.best}
    gain = 1 - last.best / last.base
    line = f"{out}: {last.base:.4f} bits per byte became {last.best:.4f}, {gain:.1%} fewer"
    show(as_json, document, [line])


def scopes(profile: Profile = TINY, as_json: AsJson = False) -> None:
    """List the scopes that --scope takes."""
    names = open_session(profile).scopes
    show(as_json, names, names)


def answer(
    prompt: Annotated[str, typer.Argument(help="The prompt, with one <media> mark per file.")],
    media: Annotated[
        list[Path] | None, typer.Argument(help="Picture and video files, in the marks' order.")
    ] = None,
    max_new_tokens: MaxNewTokens = ANSWERED.max_new_tokens,
    temperature: Temperature = ANSWERED.temperature,
    top_k: TopK = ANSWERED.top_k,
    top_p: TopP = ANSWERED.top_p,
    min_p: MinP = ANSWERED.min_p,
    repetition_penalty: RepetitionPenalty = ANSWERED.repetition_penalty,
    stop: Stop = None,
    choice: Choice = None,
    seed: Seed = None,
    profile: Profile = TINY,
    as_json: AsJson = False,
) -> None:
    """Ask Flamingo about pictures and videos."""
    text = open_session(profile).answer(
        prompt,
        media or [],
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        stop=stop or [],
        choices=choice or [],
        seed=seed,
    )
    show(as_json, {"prompt": prompt, "answer": text}, [text])


def caption(
    images: Images,
    csv: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a table. Pictures that have a caption in it are skipped."),
    ] = None,
    max_new_tokens: MaxNewTokens = ANSWERED.max_new_tokens,
    profile: Profile = TINY,
    as_json: AsJson = False,
) -> None:
    """Caption pictures with MaMMUT. One that fails is named, and the rest goes on."""
    files = folders.files_of(images)
    if csv is not None:
        table = folders.CaptionTable(csv)
        session = open_session(profile)
        session.captions([], max_new_tokens=max_new_tokens)  # so that a wrong setting is reported first
        report = table.fill(session, files, max_new_tokens)
        return folders.show_result(as_json, csv, table.done, table.kept, report)
    session = open_session(profile)
    session.captions([], max_new_tokens=max_new_tokens)
    alone = len(images) == 1 and not folders.is_collection(images[0])
    results = []
    for path, _, found in folders.captions(session, files, max_new_tokens):
        failed = isinstance(found, Exception)
        why = folders.why(path, found) if failed else ""
        if failed and alone:
            raise MediaError(why)  # nothing is done
        results.append({"image": path, "error": why} if failed else {"image": path, "caption": found})
        if failed and not as_json:
            typer.echo(f"left out: {path}: {why}", err=True)
        elif not as_json:
            print(found if alone else f"{path}: {found}", flush=True)
    show(as_json, results, [])
    if any("error" in one for one in results):
        raise typer.Exit(LEFT_OUT)


def embed(
    images: Images,
    parquet: Annotated[
        Path, typer.Option(metavar="FILE", help="The table. Pictures that are in it are skipped.")
    ],
    profile: Profile = TINY,
    as_json: AsJson = False,
) -> None:
    """Write MaMMUT's embeddings of pictures as a Parquet table.

    Its columns are id (SHA-256 of the file), path, embedding (of length 1) and fingerprint (which weights
    made it).
    """
    files = folders.files_of(images)
    table = folders.EmbeddingTable(parquet)
    report = table.fill(open_session(profile), files)
    folders.show_result(as_json, parquet, table.done, table.kept, report)


def classify(
    image: Path,
    labels: Annotated[list[str], typer.Argument(metavar="LABEL…", help="Nouns, such as cat or 'red apple'.")],
    profile: Profile = TINY,
    as_json: AsJson = False,
) -> None:
    """Choose the label that fits a picture best."""
    probabilities = open_session(profile).classify(image, labels)
    show(as_json, probabilities, _best_first(probabilities))


def samples(
    folder: Annotated[Path, typer.Argument(help="Where they go; existing files stay.")],
    as_json: AsJson = False,
) -> None:
    """Draw pictures, a video and a text to try the other verbs on."""
    from palm_demo.world import write_samples

    try:
        paths = [str(path) for path in write_samples(folder)]
    except OSError as error:
        raise PromptError(
            f"no samples can be written into {folder}: {error.strerror}; name another folder"
        ) from error
    show(as_json, paths, paths)


def _best_first(probabilities: dict[str, float]) -> list[str]:
    return [
        f"{probability:7.2%}  {name}"
        for name, probability in sorted(probabilities.items(), key=lambda named: -named[1])
    ]


def _mix(options: list[str] | None) -> dict[str, float]:
    """Scopes with strengths. Raises ScopeError for a strength that is not a number, and a scope named
    twice."""
    mix = {}
    for option in options or []:
        name, equals, strength = option.rpartition("=")
        if not equals or option.endswith(SUFFIX):  # a file's name may have a = in it
            name, strength = option, "1"
        if name in mix:
            raise ScopeError(f"--scope names {name} twice; add the strengths up")
        try:
            mix[name] = float(strength)
        except ValueError as error:
            raise ScopeError(
                f"--scope {option}: {strength!r} is not a strength; give a number, such as 0.5"
            ) from error
    return mix


def _loaded(session: "Session", mix: dict[str, float]) -> "Scope":
    """The scope or mix, with adapters loaded from files."""
    found = {session.load_adapter(n) if n.endswith(SUFFIX) else n: strength for n, strength in mix.items()}
    return next(iter(found)) if list(found.values()) == [1.0] else found or None


def _named(mix: dict[str, float]) -> str | dict[str, float] | None:
    """The scope or mix as it stands in JSON."""
    return next(iter(mix)) if list(mix.values()) == [1.0] else mix or None


def _watched(learning: Iterator["Progress"], steps: int) -> "Progress":
    """Shows the progress of a training and returns its last state.

    Ctrl-C ends the training; before its first step it ends the command.
    """
    last = next(learning)
    with progress(steps, "steps") as bar:
        try:
            for last in learning:
                bar.update(last.step - bar.n)
                bar.set_postfix_str(f"{last.best:.4f} of {last.base:.4f} bits per byte")
        except KeyboardInterrupt:
            pass
    return last
