"""Whatever a function does to its process costs its own item and nothing else."""

import ctypes
import mmap
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from fresh_process import PATHS

from audio_assets.audio import IsolatedPool
from audio_assets.failures import FailureCode, TrackFailure

#: A sleep in C that keeps the interpreter lock, as essentia does: no Python thread can interrupt it.
HOLD_THE_LOCK = ctypes.PyDLL(None).sleep


def misbehave(how):
    match how:
        case "segfault":
            ctypes.string_at(0)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            sys.exit(3)
        case "hang":
            HOLD_THE_LOCK(60)
        case "memory":
            raise MemoryError
        case "error":
            raise KeyError("tempo")
        case "failure":
            raise TrackFailure(FailureCode.SILENT, "peak 0")
        case "unpicklable":
            return lambda: None
    return how


ENDS = {
    "segfault": FailureCode.WORKER_DIED,
    "kill": FailureCode.WORKER_DIED,
    "exit": FailureCode.WORKER_DIED,
    "hang": FailureCode.TIMED_OUT,
    "memory": FailureCode.OUT_OF_MEMORY,
    "error": FailureCode.ANALYSIS_FAILED,
    "failure": FailureCode.SILENT,
    "unpicklable": FailureCode.ANALYSIS_FAILED,
}


def devour(what):
    match what:
        case "numpy":
            return np.empty(250_000_000, np.float32).nbytes
        case "essentia":
            import essentia.standard

            return len(essentia.standard.Windowing(zeroPadding=2**28)(np.ones(1024, np.float32)))
        case "mmap":
            return len(mmap.mmap(-1, 10**9, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
        case "crumbs":
            return len([bytearray(1000) for _ in range(10**6)])
    return np.ones(25_000_000, np.float32).nbytes


DEVOURERS = ("numpy", "essentia", "mmap", "crumbs")


def slowly_imported(_):
    import slow_to_import

    return slow_to_import.VALUE


def own_pid(_):
    return os.getpid()


def big_result(path):
    if path is None:
        return None
    path.write_text(str(os.getpid()))
    return np.zeros(20_000_000, np.float32)


def thread_counts(_):
    import numba
    import threadpoolctl

    a = np.ones((600, 600))
    (a @ a).sum()
    return [library["num_threads"] for library in threadpoolctl.threadpool_info()] + [numba.get_num_threads()]


@pytest.fixture(scope="module")
def pool():
    with IsolatedPool(workers=2, timeout_s=2) as pool:
        yield pool


def test_each_way_to_fail_costs_one_item(pool):
    items = [item for bad in ENDS for item in (bad, f"good {bad}")]
    outcomes = dict(pool.map_unordered(misbehave, items))
    assert {item: outcomes[item].code for item in ENDS} == ENDS
    assert all(outcomes[f"good {bad}"] == f"good {bad}" for bad in ENDS)
    assert outcomes["error"].message == "KeyError: 'tempo'"
    assert "SIGSEGV" in outcomes["segfault"].message


@pytest.mark.skipif(sys.platform != "linux", reason="macOS does not keep the limit")
def test_too_much_memory_costs_one_item_and_the_limit_outlives_restarts():
    items = [item for bad in DEVOURERS for item in (bad, f"good after {bad}")]
    with IsolatedPool(workers=1, timeout_s=60, memory_limit_mb=800) as pool:
        outcomes = dict(pool.map_unordered(devour, items))
    codes = {item: getattr(outcome, "code", outcome) for item, outcome in outcomes.items()}
    good = {f"good after {bad}": 100_000_000 for bad in DEVOURERS}
    assert codes == good | dict.fromkeys(DEVOURERS, FailureCode.OUT_OF_MEMORY)


def test_preloading_is_no_items_time_even_if_the_fork_server_runs_already(pool, tmp_path, monkeypatch):
    (tmp_path / "slow_to_import.py").write_text("import time; time.sleep(3); VALUE = 7")
    monkeypatch.syspath_prepend(tmp_path)
    assert list(pool.map_unordered(abs, [-1])) == [(-1, 1)]  # the fork server runs, without the module
    with IsolatedPool(workers=1, timeout_s=1.5, preload=["no_such_module", "slow_to_import"]) as preloading:
        assert list(preloading.map_unordered(slowly_imported, [0])) == [(0, 7)]


def test_death_by_want_of_memory_is_told(pool):
    [(_, outcome)] = pool.map_unordered(misbehave, ["kill"])
    assert outcome.message == "killed by SIGKILL, perhaps by the system for want of memory"


def test_fast_results_do_not_wait_for_slow_ones(pool):
    first, _ = next(iter(pool.map_unordered(misbehave, ["hang", "quick"])))
    assert first == "quick"


def test_death_while_sending_a_result_costs_one_item(pool, tmp_path):
    results = pool.map_unordered(big_result, [tmp_path / "pid", *[None] * 10])
    outcomes = [next(results)]  # from here on nobody reads: the big result fills its pipe
    deadline = time.monotonic() + 5
    while not (tmp_path / "pid").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    outcomes += results
    codes = Counter(getattr(outcome, "code", outcome) for _, outcome in outcomes)
    assert codes == {FailureCode.WORKER_DIED: 1, None: 10}


def test_death_of_idle_workers_costs_nothing(pool):
    for pid in {pid for _, pid in pool.map_unordered(own_pid, range(20))}:
        os.kill(pid, signal.SIGKILL)
    time.sleep(0.3)
    assert all(isinstance(pid, int) for _, pid in pool.map_unordered(own_pid, range(20)))


def test_a_slow_consumer_holds_the_work_back(pool):
    drawn = []
    results = pool.map_unordered(misbehave, (drawn.append(i) or i for i in range(100)))
    next(results)
    time.sleep(0.3)
    assert len(drawn) <= 3  # one finished, two workers hold one each
    assert len(list(results)) == 99


def test_leaving_early_leaves_a_working_pool(pool):
    results = pool.map_unordered(misbehave, range(100))
    next(results)
    results.close()
    assert sorted(item for item, _ in pool.map_unordered(misbehave, range(5))) == list(range(5))


def test_misuse_is_told(pool):
    results = pool.map_unordered(misbehave, range(3))
    next(results)
    with pytest.raises(RuntimeError, match="busy"):
        next(pool.map_unordered(misbehave, [1]))
    results.close()
    with pytest.raises(RuntimeError, match="not open"):
        next(IsolatedPool(1, 1).map_unordered(misbehave, [1]))


def test_one_thread_a_worker():
    with IsolatedPool(workers=1, timeout_s=60) as pool:
        [(_, counts)] = pool.map_unordered(thread_counts, [0])
    assert len(counts) > 1
    assert set(counts) == {1}


SCRIPT = """
    import sys
    from pathlib import Path
    from test_audio_pool import misbehave
    from audio_assets.audio import IsolatedPool

    def say_and_hang(name):
        Path(name).touch()
        return misbehave("hang")

    if __name__ == "__main__":
        with IsolatedPool(workers=2, timeout_s=50) as pool:
            print(*sorted(item for item, _ in pool.map_unordered(misbehave, "ab")), flush=True)
            list(pool.map_unordered(say_and_hang, sys.argv[1:]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the timeout ends orphans")
def test_nothing_outlives_a_killed_parent(tmp_path):
    script, started = tmp_path / "script.py", [tmp_path / "1", tmp_path / "2"]
    script.write_text(textwrap.dedent(SCRIPT))
    parent = subprocess.Popen(
        [sys.executable, script, *started],
        stdout=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(PATHS)},
    )
    assert parent.stdout
    assert parent.stdout.readline() == b"a b\n"
    wait_until(lambda: all(path.exists() for path in started))
    assert len(session(parent.pid)) > 3  # the parent, the fork server, two workers
    parent.kill()
    parent.wait()
    wait_until(lambda: not session(parent.pid))


def session(leader):
    """Living processes of a session."""
    alive = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, session_id = stat.read_text().rpartition(")")[2].split()[:4]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(session_id) == leader and state != "Z":
            alive.append(stat.parent.name)
    return alive


def wait_until(condition, seconds=15):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_fork_server_killed_as_it_begins_is_replaced(tmp_path):
    (tmp_path / "slow.py").write_text("import time; time.sleep(2)")
    script = tmp_path / "script.py"
    script.write_text("""
import os, signal, threading, time
from multiprocessing.forkserver import _forkserver as server
from audio_assets.audio import IsolatedPool

def kill_the_server():
    while server._forkserver_pid is None:
        time.sleep(0.01)
    os.kill(server._forkserver_pid, signal.SIGKILL)

if __name__ == "__main__":
    threading.Thread(target=kill_the_server).start()
    with IsolatedPool(1, 30, preload=["slow"]) as pool:
        print(list(pool.map_unordered(abs, [-1])))
""")
    result = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert result.stdout == "[(-1, 1)]\n", result.stderr


def test_script_without_a_main_guard_is_told(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from audio_assets.audio import IsolatedPool\n"
        "with IsolatedPool(1, 5) as pool: list(pool.map_unordered(abs, [1]))\n"
    )
    result = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=30)
    assert result.returncode == 1
    assert '__name__ == "__main__"' in result.stderr
