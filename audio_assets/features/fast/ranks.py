"""Values by their rank, in loops; numpy's own functions take numba seconds to compile.

What does not belong here: what is ranked.
"""

from audio_assets.features.fast._compiled import subroutine


@subroutine
def select(values, rank):  # type: ignore[no-untyped-def]
    """Find the value of a rank (0 = smallest) by Hoare's quickselect; `values` gets partitioned around it."""
    low, high = 0, values.shape[0] - 1
    while low < high:
        pivot = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if rank <= j:
            high = j
        elif rank >= i:
            low = i
        else:
            break
    return values[rank]
