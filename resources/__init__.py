"""What is plugged into the assets: the CLAP model, the warehouse, the track library, the worker pool."""
