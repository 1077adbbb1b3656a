"""What the platform costs at a million and at ten million tracks: the parts of ``benchmarks/scale.py``."""
