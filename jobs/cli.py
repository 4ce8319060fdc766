"""`rddm <verb>`: a table of verbs; a verb's module is imported when it is chosen."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.convert import app as convert_app
from jobs.terminal import Terminal, emit_json
from rddm.errors import RDDMError

if TYPE_CHECKING:
    from jobs.config import RunConfig

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
schedule_app = typer.Typer(no_args_is_help=True, help="Look at schedules of coefficients.")
app.add_typer(schedule_app, name="schedule")
preset_app = typer.Typer(no_args_is_help=True, help="Look at the paper's settings.")
app.add_typer(preset_app, name="preset")
data_app = typer.Typer(no_args_is_help=True, help="Look at finished data sets.")
app.add_typer(data_app, name="data")
doctor_app = typer.Typer(no_args_is_help=True, help="Find out what is wrong before it costs anything.")
app.add_typer(doctor_app, name="doctor")
app.add_typer(convert_app, name="convert")

Config = Annotated[Path, typer.Option("--config", metavar="FILE", help="A YAML file that describes one run.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key; may be repeated.")]
Submit = Annotated[
    str | None, typer.Option("--submit", metavar="ADDRESS", help="Run as a job on the Ray cluster there.")
]
Follow = Annotated[bool, typer.Option("--follow", help="With --submit: stream the log, return the job's exit code.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check, say what would be done, and write nothing.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
_COMMON: dict[str, Any] = {
    "config": Config,
    "overrides": Set,
    "submit": Submit,
    "follow": Follow,
    "dry_run": DryRun,
    "json": Json,
}

_VERSION = Annotated[int | None, typer.Option("--version", metavar="N", help="Model version; the newest by default.")]
_RESUME = Annotated[
    str | None, typer.Option("--resume", metavar="RUN", help="Go on with a training that was cut short.")
]


def _key(flag: str, help_text: str) -> Any:
    return Annotated[str | None, typer.Option(flag, metavar="URI", help=help_text)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Verb:
    """A verb: the module `jobs.NAME` with `run` and `plan`, and the options that only it has.

    Attributes:
        name: On the command line, and of the module.
        help: What it does.
        options: Its own options, handed to `run` and `plan` by name.
        keys: Options that set a key of the config: name -> (dotted key, option).
        default_config: Its config where none is given, or None where one must be.
    """

    name: str
    help: str
    options: Mapping[str, Any] = field(default_factory=dict)
    keys: Mapping[str, tuple[str, Any]] = field(default_factory=dict)
    default_config: Path | None = None


VERBS = (
    Verb(
        name="demo",
        help="Take real photographs through the whole workflow: preprocess, train, evaluate, promote, restore.",
        default_config=DEMO_CONFIG,
    ),
    Verb(name="preprocess", help="Turn image sets into a checked data set of pairs, sharded Parquet with a manifest."),
    Verb(
        name="train",
        help="Train on the data set, AOSA first where the objective is `auto`, and register the result.",
        options={"resume": _RESUME},
    ),
    Verb(
        name="evaluate",
        help="Score a registered version on pairs that training never saw.",
        options={"version": _VERSION},
    ),
    Verb(
        name="promote",
        help="Put a version through its gates and make it the champion if all of them hold.",
        options={"version": _VERSION},
    ),
    Verb(
        name="restore",
        help="Restore an archive of pictures with a registered model.",
        keys={
            "input": ("restore.input_uri", _key("--input", "A zip archive or a folder.")),
            "output": ("restore.output_uri", _key("--output", "A new folder for what is restored.")),
            "model": ("restore.model_uri", _key("--model", "models:/NAME@ALIAS or a bundle's folder.")),
        },
    ),
    Verb(
        name="generate",
        help="Draw pictures out of noise alone with a model that was trained for it.",
        keys={
            "output": ("generate.output_uri", _key("--output", "A new folder for the pictures.")),
            "model": ("generate.model_uri", _key("--model", "models:/NAME@ALIAS or a bundle's folder.")),
        },
    ),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Request:
    """What was asked on the command line."""

    verb: Verb
    config: Path
    overrides: list[str]
    submit: str | None
    follow: bool
    dry_run: bool
    json: bool
    options: dict[str, Any]

    def arguments(self) -> list[str]:
        """The command line again, as a job on a cluster is given it."""
        words = [self.verb.name, "--config", str(self.config)]
        for override in self.overrides:
            words += ["--set", override]
        for name, value in self.options.items():
            words += [f"--{name}", str(value)]
        return words + ["--dry-run"] * self.dry_run + ["--json"] * self.json


def _command(verb: Verb) -> Callable[..., None]:
    """The function that Typer makes a command of: the options that all verbs have, then the verb's own."""

    def command(**given: Any) -> None:
        common = {name: given.pop(name) for name in _COMMON}
        common["overrides"] = list(common["overrides"] or [])
        for name, (key, _) in verb.keys.items():
            if (value := given.pop(name)) is not None:
                common["overrides"].append(f"{key}={value}")
        options = {name: value for name, value in given.items() if value is not None}
        _perform(_Request(verb=verb, options=options, **common))

    defaults = {
        "config": verb.default_config or inspect.Parameter.empty,
        "follow": False,
        "dry_run": False,
        "json": False,
    }
    own = {**verb.options, **{name: option for name, (_, option) in verb.keys.items()}}
    command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=defaults.get(name), annotation=annotation)
            for name, annotation in {**_COMMON, **own}.items()
        ]
    )
    return command


for _verb in VERBS:
    app.command(_verb.name, help=_verb.help)(_command(_verb))


@app.command()
def ui(
    config: Config = DEMO_CONFIG,
    overrides: Set = None,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Loopback port of the page.")] = 5000,
) -> None:
    """Open MLflow's page over what a run tracked."""
    from jobs import config_file

    module = importlib.import_module("jobs.ui")
    module.serve(config_file.load(config, overrides or []), Terminal(), port=port)


@schedule_app.command("list")
def schedule_list(json: Json = False) -> None:
    """Name the schedules, the curves that `curves` is made of, and the presets' own."""
    importlib.import_module("jobs.method").list_schedules(Terminal(), as_json=json)


@schedule_app.command("show")
def schedule_show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A schedule, or a preset.")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the schedule.")
    ] = None,
    plot: Annotated[Path | None, typer.Option("--plot", metavar="FILE", help="Draw it: .png, .svg or .pdf.")] = None,
    json: Json = False,
) -> None:
    """Print a schedule's coefficients at ten times, what each objective can serve, and draw it."""
    method = importlib.import_module("jobs.method")
    method.show_schedule(name, overrides or [], Terminal(), plot=plot, as_json=json)


@preset_app.command("list")
def preset_list(json: Json = False) -> None:
    """Name the paper's settings."""
    importlib.import_module("jobs.method").list_presets(Terminal(), as_json=json)


@preset_app.command("show")
def preset_show(name: Annotated[str, typer.Argument(metavar="NAME", help="A preset.")]) -> None:
    """Print all that a preset fixes in a run, as YAML."""
    importlib.import_module("jobs.method").show_preset(name)


@data_app.command("show")
def data_show(
    uri: Annotated[str, typer.Argument(metavar="URI", help="A finished data set: a folder or an s3:// prefix.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE.png", help="The contact sheet; contact-sheet.png by default."),
    ] = None,
    rows: Annotated[
        int, typer.Option("--rows", min=0, max=100, metavar="N", help="Pairs of each split on it; 0 for none.")
    ] = 6,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read all files and compare them with the manifest.")
    ] = False,
    json: Json = False,
) -> None:
    """Print a data set's card, write a contact sheet of some of its pairs, and check its files."""
    module = importlib.import_module("jobs.data")
    module.show(uri, Terminal(), output=output, rows=rows, verify=verify, as_json=json)


@doctor_app.callback()
def doctor() -> None:
    """Find out what is wrong before it costs anything."""


@doctor_app.command("data")
def doctor_data(
    config: Config,
    overrides: Set = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="A new page with pictures of what was found.")
    ] = None,
    max_pairs: Annotated[
        int | None, typer.Option("--max-pairs", min=1, metavar="N", help="Open N pairs at most; all by default.")
    ] = None,
    json: Json = False,
) -> None:
    """Say what is wrong with image sets before anything is written; exit code 4 if something is."""
    from jobs.cluster import guard_private_ray, prepare_environment

    prepare_environment()
    from jobs import config_file

    run = config_file.load(config, overrides or [])
    guard_private_ray()
    module = importlib.import_module("jobs.doctor")
    if not module.data(run, Terminal(), as_json=json, html=html, max_pairs=max_pairs):
        raise typer.Exit(EXIT_QUARANTINED)


@config_app.command("show")
def config_show(config: Config, overrides: Set = None, json: Json = False) -> None:
    """Print the resolved run: every key, its defaults included."""
    from jobs import config_file

    resolved = config_file.load(config, overrides or [])
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
        raise typer.Exit(_submit(request, request.submit, config, terminal))
    guard_private_ray()
    module = importlib.import_module(f"jobs.{request.verb.name}")
    if request.dry_run:
        _show(module.plan(config, terminal, **request.options), request, terminal)
        return
    report = module.run(config, terminal, **request.options)
    _show(report.to_dict(), request, terminal, report.summary() if hasattr(report, "summary") else None)
    if getattr(report, "num_quarantined", 0):
        raise typer.Exit(EXIT_QUARANTINED)


def _submit(request: _Request, address: str, config: RunConfig, terminal: Terminal) -> int:
    from jobs.submit import submit

    return submit(
        address,
        request.arguments(),
        config_path=request.config,
        config=config,
        terminal=terminal,
        follow=request.follow,
    )


def _show(
    result: Mapping[str, Any], request: _Request, terminal: Terminal, rows: Mapping[str, str] | None = None
) -> None:
    if request.json:
        emit_json(result)
        return
    simple = {key: str(value) for key, value in result.items() if not isinstance(value, list | tuple)}
    terminal.table(request.verb.name + (" (dry run)" if request.dry_run else ""), rows or simple)
