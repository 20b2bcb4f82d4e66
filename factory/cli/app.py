"""The commands. Each body imports what it needs, so that `factory --help` and an audit never wait for torch or Dagster."""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer

from factory.cli.proposal import RECIPE, VARIABLE, program
from factory.errors import SeedmillError

RecipeOption = Annotated[Path, typer.Option("--recipe", envvar=VARIABLE, help="The recipe of the experiment.")]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Another seed than the recipe's: an experiment of its own.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
REFERENCE = "[EXPERIMENT/]ASSET[@VERSION]; a version may be cut short."

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="The model factory: make a model, and say of it where everything came from, what it cost and how good it is.",
)


@app.command()
def run(
    assets: Annotated[list[str] | None, typer.Argument(help="Assets to make, with all that they need; the whole model when none.")] = None,
    group: Annotated[str | None, typer.Option(help="Make a whole group, for example `ablation`.")] = None,
    rebuild: Annotated[list[str] | None, typer.Option(help="Build this asset again from nothing and compare the digests.")] = None,
    live: Annotated[bool, typer.Option("--live/--no-live", help="The live view; plain lines without it.")] = True,
    recipe: RecipeOption = RECIPE,
    seed: SeedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the model, or the assets that are named. What is fresh is verified and reused; what was interrupted goes on."""
    from factory.cli.run import RunOptions, run_experiment

    options = RunOptions(recipe, seed, tuple(assets or ()), group, tuple(rebuild or ()), live and not as_json)
    status = run_experiment(options, as_json=as_json)
    if status:
        raise typer.Exit(status)


@app.command()
def plan(
    recipe: Annotated[Path, typer.Argument(envvar=VARIABLE, help="The recipe of the experiment.")] = RECIPE,
    gpu: Annotated[Literal["a100", "h100", "h200", "b200"] | None, typer.Option(help="Another GPU than the recipe's.")] = None,
    measured: Annotated[str | None, typer.Option(help=f"A run on GPUs whose rate to reckon with: {REFERENCE}")] = None,
    as_json: JsonOption = False,
) -> None:
    """What a recipe will take: memory, time, space and teacher tokens. Refuses a layout that cannot work, and proposes one that does."""
    from factory.cli import plan as planning

    made = planning.plan(recipe, gpu, measured)
    _give(made.as_json(), lambda _, console: planning.show(made, console), as_json)
    for line in made.problems:
        sys.stderr.write(f"error: {line}\n")
    if made.problems:
        raise typer.Exit(1)


@app.command()
def status(recipe: RecipeOption = RECIPE, seed: SeedOption = None, as_json: JsonOption = False) -> None:
    """Where every asset stands: fresh, stale, pending, missing or unreadable, and why."""
    from factory.cli import show
    from factory.experiment import Experiment
    from factory.recipe import load

    states = Experiment.open(load(recipe, seed)).states()
    result = {"assets": [{"asset": s.asset, "state": s.state, "why": s.why, "version": s.version} for s in states]}
    _give(result, show.status, as_json)


@app.command()
def report(recipe: RecipeOption = RECIPE, seed: SeedOption = None, as_json: JsonOption = False) -> None:
    """What each stage took and made, how good each checkpoint is, and what to do with the model."""
    from factory.cli import show
    from factory.cli.session import Session

    _give(Session.open(recipe, seed).report(), show.report, as_json)


@app.command()
def audit(
    asset: Annotated[str, typer.Argument(help=REFERENCE)],
    version: Annotated[str | None, typer.Option(help="A version; the one materialized last without it.")] = None,
    recipe: RecipeOption = RECIPE,
    seed: SeedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Everything that a version was made from, exactly as it was read: code, seed, teacher, time and money."""
    from factory.cli import show
    from factory.cli.session import Session
    from factory.lineage import audit as library

    session = Session.open(recipe, seed)
    manifest = session.resolve(asset if version is None else f"{asset}@{version}")
    _give(library.audit(session.store, manifest), show.audit, as_json)


@app.command()
def diff(
    a: Annotated[str, typer.Argument(help=f"The older version, or the newer one when B is left out: {REFERENCE}")],
    b: Annotated[
        str | None, typer.Argument(help="The newer version. Without it, A is compared with the version committed before it.")
    ] = None,
    recipe: RecipeOption = RECIPE,
    seed: SeedOption = None,
    as_json: JsonOption = False,
) -> None:
    """What differs between two versions: recipe, code, inputs, figures, and where above them the difference began."""
    from factory.cli import show
    from factory.cli.session import Session
    from factory.lineage import diff as library
    from factory.lineage.reference import before

    session = Session.open(recipe, seed)
    first = session.resolve(a)
    old, new = (first, session.resolve(b)) if b else (before(session.store, first), first)
    _give(library.diff(session.store, old, new), show.diff, as_json)


@app.command()
def trace(
    record: Annotated[str, typer.Argument(help="The id of a document, synthetic record, chat or pair, or its first digits.")],
    recipe: RecipeOption = RECIPE,
    seed: SeedOption = None,
    as_json: JsonOption = False,
) -> None:
    """The way of a record: back to its sources, forward to every checkpoint that was trained on what it fed."""
    from factory.cli import show
    from factory.cli.session import Session
    from factory.lineage import trace as library

    session = Session.open(recipe, seed)
    _give(library.trace(session.store, session.manifests(), record), show.trace, as_json)


@app.command()
def chat(
    checkpoint: Annotated[str, typer.Argument(help=REFERENCE)] = "judged_dpo_checkpoint",
    prompt: Annotated[str | None, typer.Option(help="Ask this one question and end.")] = None,
    temperature: Annotated[float, typer.Option(min=0.0, max=2.0, help="0 is greedy.")] = 0.0,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Cut an answer after so many tokens.")] = 128,
    recipe: RecipeOption = RECIPE,
    seed: SeedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Talk to a checkpoint. Base checkpoints, which know no chat, continue an exercise instead.

    Without `--prompt` each line of standard input is a question; with `--json` each answer is a line of JSON.
    """
    from factory.cli.chat import Chat
    from factory.cli.session import Session

    session = Session.open(recipe, seed)
    talk = Chat.open(session.store, session.resolve(checkpoint), temperature=temperature, max_new_tokens=max_new_tokens)
    if prompt is None:
        if as_json:
            talk.stream(checkpoint)
        else:
            talk.loop()
        return
    answer = talk.ask(prompt)
    _give({"checkpoint": checkpoint, "prompt": prompt, "answer": answer}, lambda _, console: console.print(answer, markup=False), as_json)


@app.command()
def pivots(
    question: Annotated[
        str | None,
        typer.Argument(help="Questions with this id or text: their answers and pairs."),
    ] = None,
    asset: Annotated[str, typer.Option(help=REFERENCE)] = "pivotal_pairs",
    recipe: RecipeOption = RECIPE,
    seed: SeedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Which tokens decide between success and failure, as pivotal token search saw them."""
    from factory.cli.pivots import draw, look
    from factory.cli.session import Session

    session = Session.open(recipe, seed)
    _give(look(session.store, session.resolve(asset), question), draw, as_json)


@app.command()
def doctor(recipe: RecipeOption = RECIPE, seed: SeedOption = None, as_json: JsonOption = False) -> None:
    """Check everything that a run needs, and say how to mend what is missing."""
    from dataclasses import asdict

    from factory.cli import show
    from factory.cli.doctor import examine

    findings = examine(recipe, seed)
    _give({"checks": [asdict(finding) for finding in findings]}, show.doctor, as_json)
    if any(finding.state == "fail" for finding in findings):
        raise typer.Exit(1)


def _give(result: dict[str, Any], show: Any, as_json: bool) -> None:
    """Print a result for people or for programs."""
    if as_json:
        import json

        sys.stdout.write(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
        return
    from factory.cli.words import open_console

    show(result, open_console())


def main() -> None:
    """The entry point: a user's mistake is one line, and exit status 1, or 2 where it is one of typing."""
    try:
        status = app(sys.argv[1:] or ["--help"], prog_name=program(), standalone_mode=False)
    except SeedmillError as error:
        _fail(str(error), 1)
    except typer.TyperException as error:
        _fail(_misuse(error), error.exit_code)
    except OSError as error:
        if error.filename is None:
            raise
        _fail(f"{error.filename}: {error.strerror}; set SEEDMILL_HOME, or store.url in the recipe, to a folder that you may write", 1)
    sys.exit(status)


def _misuse(error: typer.TyperException) -> str:
    """What is wrong with the words of a command line, with the value where one is wrong, and where to look up what is right."""
    from pydantic import ValidationError

    message = " ".join(error.format_message().split()).rstrip(".")
    value = repr(error.__cause__.errors()[0]["input"]) if isinstance(error.__cause__, ValidationError) else ""
    where = f" (value {value})" if value not in message else ""
    context = getattr(error, "ctx", None)
    return f"{message.replace('Value error, ', '')}{where}; see `{context.command_path if context else program()} --help`"


def _fail(message: str, status: int) -> NoReturn:
    sys.stderr.write(f"error: {message}\n")
    sys.exit(status)
