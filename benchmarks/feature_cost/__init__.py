"""Parts of `benchmarks/features.py`: clips, contenders, measurements, and how they are shown."""
