"""The only place where everything meets: assets, checks, automation and resources, as one code location.

What belongs here: which resource is plugged in where, and the environment variables that configure them
(those of the model's settings are with it, as the command line reads them too).
"""

import os
from pathlib import Path

import dagster as dg

from audio_assets.assets import ASSETS
from audio_assets.automation import (
    EXECUTOR,
    JOBS,
    AutomationSettings,
    alert_sensors,
    daily_verification,
    forgotten_retries,
    library_sensors,
    lost_runs,
    scheduled_backfill,
)
from audio_assets.checks import CHECKS
from audio_assets.embeddings import DEFAULT_MODEL_ID
from audio_assets.maintenance import daily_maintenance
from resources.analysis_pool import AnalysisPool
from resources.clap_model import clap_model_from_environment
from resources.progress import Progress
from resources.track_library import library_from_environment
from resources.warehouse import warehouse_from_environment

DATA_VARIABLE = "AUDIO_ASSETS_DATA"
LIBRARY_VARIABLE = "AUDIO_ASSETS_LIBRARY"
MANIFEST_VARIABLE = "AUDIO_ASSETS_MANIFEST"
MODEL_VARIABLE = "AUDIO_ASSETS_CLAP_MODEL"


def build_defs(**resource_overrides: object) -> dg.Definitions:
    """Assemble the code location.

    Parameters
    ----------
    **resource_overrides
        Resources to use in place of those that the environment configures, by name: ``library``,
        ``warehouse``, ``analysis_pool``, ``clap_model``, ``progress``.

    Returns
    -------
    Definitions
        Everything Dagster needs to know.
    """
    automation = AutomationSettings.from_environment()
    return dg.Definitions(
        assets=ASSETS,
        asset_checks=CHECKS,
        jobs=JOBS,
        schedules=[
            scheduled_backfill(automation),
            daily_verification(automation),
            daily_maintenance(automation.schedule_status, automation.timezone),
        ],
        sensors=[
            *library_sensors(automation),
            lost_runs(automation.interval_s),
            forgotten_retries(automation.interval_s),
            *alert_sensors(automation),
        ],
        executor=EXECUTOR,
        resources={**_resources_from_environment(), **resource_overrides},
    )


def _resources_from_environment() -> dict[str, object]:
    data_dir = Path(os.environ.get(DATA_VARIABLE, "data")).expanduser().resolve()
    root = Path(os.environ.get(LIBRARY_VARIABLE, str(data_dir / "demo" / "audio")))
    manifest = os.environ.get(MANIFEST_VARIABLE)
    return {
        "library": library_from_environment(root, Path(manifest) if manifest else None),
        "warehouse": warehouse_from_environment(data_dir),
        "analysis_pool": AnalysisPool(),
        "clap_model": clap_model_from_environment(model_id=os.environ.get(MODEL_VARIABLE, DEFAULT_MODEL_ID)),
        "progress": Progress(),
    }


@dg.definitions
def defs() -> dg.Definitions:
    """Code location that ``workspace.yaml`` loads."""
    return build_defs()
