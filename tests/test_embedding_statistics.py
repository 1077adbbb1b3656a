"""Hubness and drift against counting by hand."""

import numpy as np
import pytest

from audio_assets.embeddings import hubness, mean_drift
from audio_assets.embeddings import statistics as module


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def counted_by_hand(rows: np.ndarray, k: int) -> np.ndarray:
    """How often each row is among the k nearest of another."""
    occurrences = np.zeros(len(rows), int)
    for i, row in enumerate(rows.astype(np.float64)):
        cosines = rows.astype(np.float64) @ row
        cosines[i] = -2
        for j in sorted(range(len(rows)), key=lambda j: -cosines[j])[:k]:
            occurrences[j] += 1
    return occurrences


@pytest.mark.parametrize("block", [7, 64, 4096])
def test_hubness_is_the_skewness_of_counted_neighbours(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SIMILARITY_BLOCK", block)
    rows = unit(np.random.default_rng(1).standard_normal((150, 40)))
    counts = counted_by_hand(rows, 10)
    found = hubness(rows)
    assert found is not None
    centred = counts - counts.mean()
    assert found.skewness == pytest.approx((centred**3).mean() / (centred**2).mean() ** 1.5)
    assert found.largest == counts.max()
    assert found.orphan_share == np.mean(counts == 0)
    assert found.n_samples == 150


def test_a_cloud_aside_of_the_origin_has_hubs_and_the_same_centred_has_none() -> None:
    """The phenomenon itself: rows near the mean are near to everybody, until the mean is taken away."""
    aside = unit(unit(np.random.default_rng(0).standard_normal((2000, 50))) - 0.3)
    crowded, even = hubness(aside), hubness(unit(aside - aside.mean(axis=0)))
    assert crowded is not None
    assert even is not None
    assert crowded.skewness > 2
    assert even.skewness < 1


def test_evenly_spread_rows_have_no_hubness() -> None:
    angle = 2 * np.pi * np.arange(100) / 100
    found = hubness(unit(np.stack([np.cos(angle), np.sin(angle)], axis=1)))
    assert found is not None
    assert found.largest <= 12
    assert abs(found.skewness) < 3
    assert found.orphan_share == 0


def test_very_large_sets_are_sampled_and_always_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_HUBNESS_ROWS", 300)
    rows = unit(np.random.default_rng(2).standard_normal((1000, 20)))
    first, again = hubness(rows), hubness(rows)
    assert first == again
    assert first is not None
    assert first.n_samples == 300


@pytest.mark.parametrize("n", [0, 1, 19])
def test_too_few_rows_have_no_hubness(n: int) -> None:
    assert hubness(unit(np.random.default_rng(0).standard_normal((n, 8)))) is None


def test_drift_is_measured_in_units_of_the_spread() -> None:
    rng = np.random.default_rng(0)
    rows = unit(rng.standard_normal((500, 64)) + 0.5)
    mean = rows.mean(axis=0, dtype=np.float64)
    spread = np.sqrt(np.square(rows - mean).sum(axis=1).mean())
    aside = np.linalg.svd(mean[None])[2][1]  # at right angles to the mean
    drift = mean_drift(mean + 0.3 * spread * aside, mean)
    assert drift.distance == pytest.approx(0.3, rel=1e-5)
    assert drift.cosine == pytest.approx(1 / np.hypot(1, 0.3 * spread / np.linalg.norm(mean)))
    assert mean_drift(mean, mean).distance == 0


def test_a_library_of_copies_has_a_drift_all_the_same() -> None:
    assert np.isfinite(mean_drift(np.eye(4)[0], np.eye(4)[1]).distance)
