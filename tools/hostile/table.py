"""What a run over bad files came to, as Markdown, and what about it is not as promised."""

from collections import Counter
from collections.abc import Iterator, Sequence

from audio_assets.library.paths import escaped_name
from resources.analysis_pool import AnalysisPool
from tools.hostile.case import Case
from tools.hostile.run import ROW, End, Verdict

#: A worker that dies or is stopped is the pool's work, and none of the decoder's merits.
CRASHES, TIME_OUTS = "worker_died", "timed_out"
_UNFORESEEN = "analysis_failed"


def complaints(verdict: Verdict, alone: Verdict, cases: Sequence[Case]) -> list[str]:
    """Say what is not as promised; nothing where all is.

    Parameters
    ----------
    verdict, alone : Verdict
        Of the good files among the bad ones, and of the good ones by themselves.
    cases : sequence of Case
        All files of the former.

    Returns
    -------
    list of str
        One sentence each.
    """
    return [
        *(f"the pipeline failed: {job}" for job in verdict.report.failed_jobs),
        *(f"a check failed: {check.check_name}: {check.description}" for check in verdict.report.errors),
        *_of_cases(verdict, cases),
        *(
            f"{path} has other numbers than alone"
            for path, numbers in alone.neighbours.items()
            if verdict.neighbours.get(path) != numbers
        ),
    ]


def _of_cases(verdict: Verdict, cases: Sequence[Case]) -> Iterator[str]:
    for case in cases:
        ends = _ends(verdict, case)
        codes = [end.code for end in ends]
        if not ends and escaped_name(case.path) in verdict.ends:
            yield f"{case.path!r} has no end"
        if case.is_music and codes != [ROW, ROW]:
            yield f"{case.path!r} is music, and ended in {codes}"
        yield from (f"{case.path!r}: {end.message}" for end in ends if end.code == _UNFORESEEN)


def summary(verdict: Verdict, alone: Verdict, cases: Sequence[Case], pool: AnalysisPool, seed: int) -> str:
    """Sentences on the run as a whole."""
    same = sum(verdict.neighbours.get(path) == numbers for path, numbers in alone.neighbours.items())
    codes = Counter(end.code for case in cases for end in _ends(verdict, case))
    return (
        f"{len(cases)} files, seed {seed}, {pool.workers} workers with {pool.track_timeout_s:.0f} s and "
        f"{pool.track_memory_mb} MB a track; {verdict.elapsed_s / 60:.0f} minutes on two busy cores. "
        f"Crashes of a worker: {codes[CRASHES]}. Time-outs: {codes[TIME_OUTS]}. Failures that nobody foresaw "
        f"(`{_UNFORESEEN}`): {codes[_UNFORESEEN]}. Runs that failed: {len(verdict.report.failed_jobs)}. "
        f"Good neighbours with the same bits as alone, in both tables: {same} of {len(alone.neighbours)}."
    )


def table(verdict: Verdict, cases: Sequence[Case]) -> str:
    """Files by kind, with rows and failures by code; then those that cost a worker, one by one."""
    lines = ["| kind | files | rows | failures by code |", "|---|---:|---:|---|"]
    for kind in dict.fromkeys(case.kind for case in cases):
        of_kind = [case for case in cases if case.kind == kind]
        lines.append(f"| {kind} | {len(of_kind)} | {_counts(verdict, of_kind)} |")
    lines.append(f"| all | {len(cases)} | {_counts(verdict, cases)} |")
    costly = {
        case.path: end
        for case in cases
        for end in _ends(verdict, case)
        if end.code in {CRASHES, TIME_OUTS, _UNFORESEEN, "out_of_memory"}
    }
    told = [f"- `{path}`: `{end.code}` ({end.message})" for path, end in costly.items()]
    return "\n".join([*lines, "", *(told or ["No file cost a worker."])])


def _counts(verdict: Verdict, cases: Sequence[Case]) -> str:
    """Of several ends of one file the worst counts: a row only where both tables have one."""
    worst = Counter(_worst(_ends(verdict, case)) for case in cases)
    rows = worst.pop(ROW, 0)
    codes = ", ".join(f"{code} {n}" for code, n in worst.most_common())
    return f"{rows} | {codes}"


def _worst(ends: Sequence[End]) -> str:
    return next((end.code for end in ends if end.code != ROW), ROW if ends else "not listed")


def _ends(verdict: Verdict, case: Case) -> list[End]:
    return verdict.ends.get(escaped_name(case.path), [])
