"""Parts of `benchmarks/features.py`: clips, contenders, measurements, and how they are shown."""

import sys
from pathlib import Path

# here, because every process of the run imports this package first, and all that is measured must be the same
sys.path.append(str(Path(__file__).parents[2] / "tests"))  # plain_contract
