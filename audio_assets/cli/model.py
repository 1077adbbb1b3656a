"""The CLAP model: pull it, judge it."""

from typing import Annotated

import typer
from rich.markup import escape

from audio_assets.cli.printing import EXIT_FAILED, err, fail, out, print_rows
from audio_assets.embeddings import DEFAULT_MODEL_ID

model_app = typer.Typer(
    help="The CLAP model: pull it, judge it.", no_args_is_help=True, rich_markup_mode=None
)

ModelArgument = Annotated[
    str,
    typer.Argument(
        envvar="AUDIO_ASSETS_CLAP_MODEL", help="Model id on the hub, or a local folder.", metavar="MODEL"
    ),
]
Revision = Annotated[
    str, typer.Option(help="Commit of the hub's repository; left out, the one a known model is pinned to.")
]


@model_app.command()
def pull(model: ModelArgument = DEFAULT_MODEL_ID, revision: Revision = "") -> None:
    """Fetch a model once, verified and as safetensors; later runs need no network."""
    from audio_assets.embeddings import ModelError
    from resources.clap_model import ClapModel

    try:
        checkpoint = ClapModel(model_id=model, revision=revision).checkpoint()
    except ModelError as error:
        fail(str(error))
    size_mb = checkpoint.weights_path.stat().st_size / 1e6
    out.print(escape(f"model     {checkpoint.model_id}@{checkpoint.revision}"))
    out.print(escape(f"folder    {checkpoint.path}"))
    out.print(
        f"weights   {checkpoint.weights_path.name}, {size_mb:.1f} MB, sha256 {checkpoint.weights_sha256}"
    )
    out.print(escape(f"verified  against {checkpoint.verified_by}"))


@model_app.command()
def check(model: ModelArgument = DEFAULT_MODEL_ID, revision: Revision = "") -> None:
    """Measure whether a model looks trained. Exit code 1 where it does not."""
    from audio_assets.embeddings import ModelError
    from resources.clap_model import ClapModel

    clap_model = ClapModel(model_id=model, revision=revision, offline=True)
    try:
        health, concerns = clap_model.health(), clap_model.concerns()
    except ModelError as error:
        fail(str(error))
    measures = health.measures
    rows = ((m.name, f"{m.value:.4g}", m.limit, "UNTRAINED" if m.problem else "ok") for m in measures)
    print_rows(("figure", "value", "should be", "verdict"), rows)
    for concern in concerns:
        err.print(f"WARNING {escape(concern)}")
    if health.problems:
        raise typer.Exit(EXIT_FAILED)
    out.print("No sign of an untrained model. That is not to say that it is a good one.")
