"""The code location of the distributed tests: that of the recovery tests, with batches of three tracks.

A gate holds whoever loads the model, and each load is a line of a file.
"""

import os

import dagster as dg
from recovery_location import GATES, on_request, with_gate

from audio_assets.definitions import build_defs
from resources.analysis_pool import AnalysisPool
from resources.clap_model import ClapModel
from resources.track_library import TrackLibrary


def counted_load(model: ClapModel, *arguments: object) -> object:
    with (GATES.parent / "loads").open("a") as loads:
        loads.write(f"{os.getpid()}\n")
    return load(model, *arguments)


load, ClapModel._load = ClapModel._load, with_gate("load", counted_load)

defs = dg.Definitions.merge(
    build_defs(
        library=TrackLibrary(root=os.environ["AUDIO_ASSETS_LIBRARY"], batch_size=3),
        analysis_pool=AnalysisPool(workers=1, track_timeout_s=60),
    ),
    dg.Definitions(sensors=[on_request]),
)
