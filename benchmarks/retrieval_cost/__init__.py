"""Parts of `benchmarks/retrieval.py`: synthetic vectors, contenders, measurements, and how they are shown."""
