"""`rddm <verb>`: a table of verbs; a verb's module is imported when it is chosen."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from jobs.terminal import Terminal, emit_json
from rddm.errors import RDDMError

EXIT_FAILED, EXIT_QUARANTINED, EXIT_INTERRUPTED = 1, 4, 130
DEMO_CONFIG = Path(__file__).with_name("configs") / "demo.yaml"

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Restore images at scale with Residual Denoising Diffusion Models.",
    epilog="Exit codes: 0 done, 1 failed, 2 usage or config, 3 gate refused, 4 done with quarantined inputs, "
    "5 cluster or registry unreachable.",
)
config_app = typer.Typer(no_args_is_help=True, help="Look at a run's config.")
app.add_typer(config_app, name="config")

Config = Annotated[Path, typer.Option("--config", metavar="FILE", help="A YAML file that describes one run.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key; may be repeated.")]
Submit = Annotated[
    str | None, typer.Option("--submit", metavar="ADDRESS", help="Run as a job on the Ray cluster there.")
]
Follow = Annotated[bool, typer.Option("--follow", help="With --submit: stream the log, return the job's exit code.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything, say what would be done, write nothing.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Version = Annotated[int | None, typer.Option("--version", metavar="N", help="Model version; the newest by default.")]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Request:
    """What was asked on the command line, the same for every verb."""

    verb: str
    config: Path
    overrides: list[str]
    submit: str | None
    follow: bool
    dry_run: bool
    json: bool
    extra: dict[str, Any] = field(default_factory=dict)

    def arguments(self) -> list[str]:
        """The command line again, as a job on a cluster is given it."""
        words = [self.verb, "--config", str(self.config)]
        for override in self.overrides:
            words += ["--set", override]
        for name, value in self.extra.items():
            words += [f"--{name}", str(value)] if value is not None else []
        return words + ["--dry-run"] * self.dry_run + ["--json"] * self.json


@app.command()
def demo(
    config: Config = DEMO_CONFIG,
    set_: Set = None,
    submit: Submit = None,
    follow: Follow = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Take real photographs through the whole workflow: preprocess, train, evaluate, promote, restore."""
    _perform(
        _Request(
            verb="demo", config=config, overrides=set_ or [], submit=submit, follow=follow, dry_run=dry_run, json=json
        )
    )


@app.command()
def preprocess(
    config: Config,
    set_: Set = None,
    submit: Submit = None,
    follow: Follow = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Turn image sets into a checked data set of pairs, sharded Parquet with a manifest."""
    _perform(
        _Request(
            verb="preprocess",
            config=config,
            overrides=set_ or [],
            submit=submit,
            follow=follow,
            dry_run=dry_run,
            json=json,
        )
    )


@app.command()
def train(
    config: Config,
    set_: Set = None,
    submit: Submit = None,
    follow: Follow = False,
    dry_run: DryRun = False,
    json: Json = False,
    resume: Annotated[
        str | None, typer.Option("--resume", metavar="RUN", help="Go on with a training that was cut short.")
    ] = None,
) -> None:
    """Train on the data set, AOSA first where the objective is `auto`, and register the result."""
    _perform(
        _Request(
            verb="train",
            config=config,
            overrides=set_ or [],
            submit=submit,
            follow=follow,
            dry_run=dry_run,
            json=json,
            extra={"resume": resume},
        )
    )


@app.command()
def evaluate(
    config: Config,
    set_: Set = None,
    submit: Submit = None,
    follow: Follow = False,
    dry_run: DryRun = False,
    json: Json = False,
    version: Version = None,
) -> None:
    """Score a registered version on pairs that training never saw."""
    _perform(
        _Request(
            verb="evaluate",
            config=config,
            overrides=set_ or [],
            submit=submit,
            follow=follow,
            dry_run=dry_run,
            json=json,
            extra={"version": version},
        )
    )


@app.command()
def promote(
    config: Config,
    set_: Set = None,
    submit: Submit = None,
    follow: Follow = False,
    dry_run: DryRun = False,
    json: Json = False,
    version: Version = None,
) -> None:
    """Put a version through its gates and make it the champion if all of them hold."""
    _perform(
        _Request(
            verb="promote",
            config=config,
            overrides=set_ or [],
            submit=submit,
            follow=follow,
            dry_run=dry_run,
            json=json,
            extra={"version": version},
        )
    )


@app.command()
def restore(
    config: Config,
    set_: Set = None,
    submit: Submit = None,
    follow: Follow = False,
    dry_run: DryRun = False,
    json: Json = False,
    input_: Annotated[str | None, typer.Option("--input", metavar="URI", help="A zip archive or a folder.")] = None,
    output: Annotated[
        str | None, typer.Option("--output", metavar="URI", help="A new folder for what is restored.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="URI", help="models:/NAME@ALIAS or a bundle's folder.")
    ] = None,
) -> None:
    """Restore an archive of pictures with a registered model."""
    named = {"restore.input_uri": input_, "restore.output_uri": output, "restore.model_uri": model}
    overrides = [*(set_ or []), *(f"{key}={value}" for key, value in named.items() if value is not None)]
    _perform(
        _Request(
            verb="restore", config=config, overrides=overrides, submit=submit, follow=follow, dry_run=dry_run, json=json
        )
    )


@app.command()
def ui(
    config: Config = DEMO_CONFIG,
    set_: Set = None,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Loopback port of the page.")] = 5000,
) -> None:
    """Open MLflow's page over what a run tracked."""
    from jobs import config_file

    module = importlib.import_module("jobs.ui")
    module.serve(config_file.load(config, set_ or []), Terminal(), port=port)


@config_app.command("show")
def config_show(config: Config, set_: Set = None, json: Json = False) -> None:
    """Print the resolved run: every key, its defaults included."""
    from jobs import config_file

    resolved = config_file.load(config, set_ or [])
    if json:
        emit_json(config_file.to_mapping(resolved))
    else:
        print(config_file.to_yaml(resolved), end="")


@config_app.command("schema")
def config_schema() -> None:
    """Print the JSON schema of a run, for editors."""
    from jobs import config_file

    emit_json(config_file.json_schema())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a known failure is one line on stderr and its exit code."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    sys.exit(_guarded(lambda: app(args=list(arguments) if arguments is not None else None, standalone_mode=True)))


def _guarded(work: Callable[[], object]) -> int:
    try:
        work()
    except RDDMError as error:
        print(f"rddm: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"rddm: {error}. Nothing was published under its final name.", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print("rddm: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


def _perform(request: _Request) -> None:
    from jobs.cluster import guard_private_ray, prepare_environment

    prepare_environment()
    from jobs import config_file

    terminal = Terminal()
    config = config_file.load(request.config, request.overrides)
    if request.submit is not None:
        from jobs.submit import submit

        raise typer.Exit(
            submit(
                request.submit,
                request.arguments(),
                config_path=request.config,
                config=config,
                terminal=terminal,
                follow=request.follow,
            )
        )
    guard_private_ray()
    module = importlib.import_module(f"jobs.{request.verb}")
    given = {name: value for name, value in request.extra.items() if value is not None}
    if request.dry_run:
        _show(module.plan(config, terminal, **given), request, terminal)
        return
    report = module.run(config, terminal, **given)
    _show(report.to_dict(), request, terminal, report.summary() if hasattr(report, "summary") else None)
    if getattr(report, "num_quarantined", 0):
        raise typer.Exit(EXIT_QUARANTINED)


def _show(
    result: Mapping[str, Any], request: _Request, terminal: Terminal, rows: Mapping[str, str] | None = None
) -> None:
    if request.json:
        emit_json(result)
        return
    simple = {key: str(value) for key, value in result.items() if not isinstance(value, list | tuple)}
    terminal.table(request.verb + (" (dry run)" if request.dry_run else ""), rows or simple)
