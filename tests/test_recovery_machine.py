"""A disk that fills up and a clock that jumps, each under a daemon of its own; see ``test_recovery``."""

import shutil
import struct
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from programs import needs
from recovery_site import CANCELED, FAILURE, SUCCESS, caught_in_mid_batch, kept, running, statuses
from test_storage import mount

__all__ = ["mount"]  # a fixture


def fill(disk: Path) -> None:
    """Leave not a page free."""
    with suppress(OSError), (disk / "ballast").open("ab", buffering=0) as ballast:
        while True:
            ballast.write(bytes(4096))


def test_a_disk_that_fills_up_under_the_daemon(
    tmp_path: Path, clap_checkpoint: Path, mount: Callable[[str], Path]
) -> None:
    disk = mount("size=300m")
    (tmp_path / "data").symlink_to(disk)
    with running(tmp_path, clap_checkpoint) as site:
        paths, worker, finished = caught_in_mid_batch(site)
        fill(disk)
        site.open("batch")
        site.wait(lambda: not Path(f"/proc/{worker}").exists(), "the end of the run")
        fill(disk)  # what the run gave back when it ended
        code, said = site.cli("status")
        assert code == 1
        assert "If the disk is full, free some" in said
        assert "Traceback" not in said
        (disk / "ballast").unlink()
        site.wait(lambda: site.analysed(paths), "the batch")
        assert statuses(site.runs()) == [FAILURE, SUCCESS]
        assert kept(site, finished)
        site.assert_whole()


class WallClock:
    """A wall clock for the processes that are started with its environment."""

    def __init__(self, folder: Path) -> None:
        self._offset = folder / "offset"
        self._offset.write_bytes(struct.pack("q", 0))
        library = folder / "wall_clock.so"
        source = Path(__file__).parent / "recovery" / "wall_clock.c"
        subprocess.run(["cc", "-shared", "-fPIC", "-O", "-o", library, source], check=True)
        self.environment = {"LD_PRELOAD": str(library), "WALL_CLOCK_OFFSET": str(self._offset)}

    def jump(self, days: int) -> None:
        """Set the clock so many days from the true time."""
        with self._offset.open("r+b") as file:
            file.write(struct.pack("q", days * 86_400))


@needs(None if shutil.which("cc") else "there is no C compiler")
def test_a_clock_that_jumps_ahead_and_back(tmp_path: Path, clap_checkpoint: Path) -> None:
    """Ahead by more than a run may take, so that it is stopped and tried again; back before all ticks.

    Whether the run that is stopped ends as failed or as cancelled is a race between Dagster's daemon and the
    run's own process (1.13.27), and only the former is retried. Else the schedule takes the batch up; here it
    looks every minute instead of every hour.
    """
    clock = WallClock(tmp_path)
    schedule = {"AUDIO_ASSETS_BACKFILL_CRON": "* * * * *", "AUDIO_ASSETS_MOST_ATTEMPTS": "3"}
    with running(tmp_path, clap_checkpoint, **clock.environment, **schedule) as site:
        paths, _, finished = caught_in_mid_batch(site)
        clock.jump(days=3)
        site.wait(lambda: site.runs()[0].is_finished, "the run has taken too long")
        site.open("batch")
        site.wait(lambda: site.analysed(paths), "the batch")
        stopped, *again = statuses(site.runs())
        assert stopped in (FAILURE, CANCELED)
        assert set(again) == {SUCCESS}
        assert kept(site, finished)
        clock.jump(days=0)
        paths = site.drop("d")
        site.wait(lambda: site.analysed(paths), "what came after the jump back")
        assert statuses(site.runs()) == [stopped, *again, SUCCESS]
        assert not site.ticks_after(time.time() + 3600), "what has such a tick does not tick until then"
        assert kept(site, finished)
        site.assert_whole()
