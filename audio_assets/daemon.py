"""Dagster's daemon, which lives through a clock that is set back, and keeps its code server.

Dagster counts its pauses by the wall clock, and keeps the times of the last ticks. Set back by a day, nothing
would be looked at for a day, neither by the daemon that runs nor by one that is started anew. So this one
starts itself anew when that happens, and forgets what has not happened yet.

Dagster starts the process that evaluates sensors, its code server, anew every minute (1.13.27), which takes a
tenth of a core for as long as a daemon lives. This one lets it be for an hour, while it answers.

What belongs here: the process that ``audio-assets ui --part daemon`` becomes. What does not: what the daemon
does, which is Dagster's and, by way of sensors and schedules, ``automation``'s.
"""

import os
import signal
import sys
import threading
import time
from typing import Any

import dagster as dg

_LOOK_EVERY_S = 1.0
#: Less only makes a pause so much longer.
_TOLERANCE_S = 20.0
#: New code is loaded then at the latest.
_CODE_SERVER_LIVES_S = 3600.0


def main() -> None:
    """Run Dagster's daemon with this process's arguments, anew whenever the clock has been set back."""
    from dagster._daemon.cli import run_command

    with dg.DagsterInstance.get() as instance:
        forget_the_future(instance, time.time())
    keep_code_server()
    watch = ClockWatch()
    watch.start()
    run_command.main(sys.argv[2:], standalone_mode=False)
    if watch.set_back:
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606 - what was started, once more


class ClockWatch(threading.Thread):
    """Interrupts this process, so that it ends in order, when the clock is set back.

    Afterwards ``set_back`` is true.
    """

    def __init__(self) -> None:
        super().__init__(name="clock-watch", daemon=True)
        self.set_back = False

    def run(self) -> None:
        """Compare the wall clock with one that never jumps."""
        ahead_s = time.time() - time.monotonic()
        while not self.set_back:
            time.sleep(_LOOK_EVERY_S)
            before_s, ahead_s = ahead_s, time.time() - time.monotonic()
            self.set_back = ahead_s < before_s - _TOLERANCE_S
        os.kill(os.getpid(), signal.SIGINT)


def keep_code_server() -> None:
    """Have the daemon of this process start no code server anew while the one that is there is fit."""
    from dagster._daemon import controller as dagsters

    refresh = dagsters.DagsterDaemonController.check_workspace_freshness
    started_s = time.monotonic()

    def refresh_where_needed(controller: Any, last_good_s: float) -> float:
        nonlocal started_s
        workspace = controller._workspace_process_context.create_request_context()
        answers = _answers(workspace)
        is_young = time.monotonic() - started_s < _CODE_SERVER_LIVES_S
        # One that was not asked for so long, as while this machine slept, takes no runs any more.
        is_watched = time.time() - last_good_s < dagsters.DAEMON_GRPC_SERVER_HEARTBEAT_TTL
        if answers and is_young and is_watched and not workspace.code_location_errors():
            return time.time()
        if not answers:  # at once, as Dagster refreshes what is old
            last_good_s = min(last_good_s, time.time() - dagsters.RELOAD_WORKSPACE_INTERVAL - 1)
        refreshed_s = refresh(controller, last_good_s)
        if refreshed_s > last_good_s:
            started_s = time.monotonic()
        return refreshed_s

    dagsters.DagsterDaemonController.check_workspace_freshness = refresh_where_needed  # type: ignore[assignment, method-assign]


def _answers(workspace: Any) -> bool:
    from dagster._core.errors import DagsterUserCodeUnreachableError

    try:
        for location in workspace.code_locations:
            location.client.ping("")
    except DagsterUserCodeUnreachableError:
        return False
    return True


def forget_the_future(instance: dg.DagsterInstance, now_s: float) -> None:
    """Let sensors and schedules tick again whose last tick is still to come.

    Parameters
    ----------
    instance : DagsterInstance
        Holds the ticks.
    now_s : float
        The time, in seconds since 1970. What is within some seconds of it is left alone.
    """
    for state in instance.all_instigator_state():
        data: Any = state.instigator_data  # one of two named tuples
        if data is None:
            continue
        times = {name: value for name, value in data._asdict().items() if name.endswith("_timestamp")}
        early = {name: now_s for name, value in times.items() if value and value > now_s + _TOLERANCE_S}
        if early:
            instance.update_instigator_state(state.with_data(data._replace(**early)))
        future = instance.get_ticks(state.instigator_origin_id, state.selector_id, after=now_s + _TOLERANCE_S)
        for tick in future:
            instance.update_tick(tick._replace(tick_data=tick.tick_data._replace(timestamp=now_s)))


if __name__ == "__main__":
    main()
