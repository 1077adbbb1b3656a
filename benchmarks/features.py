"""What the 56 features cost, beside the plain way to them and beside what else computes features.

    make bench-features MUSIC=FOLDER        or: python benchmarks/features.py --music FOLDER [--rounds 3]

Writes benchmarks/results/features.json and features.svg and the tables in benchmarks/README.md, which tells
what is compared. Without a folder the music is the demo library's. Needs 2 GB below the temporary folder.
"""

import audio_assets.one_thread  # noqa: F401 - before numpy, which reads it once; child processes inherit it

if __name__ == "__main__":  # pool workers import this module, and shall not grow by what only the run needs
    from feature_cost.run import main

    main()
