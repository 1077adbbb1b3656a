"""Runs in workers that keep the model loaded, on this machine or others: Celery's, by dagster-celery.

What belongs here: which queue a run goes to, whether the worker that executes it still lives, and that only
workers of the same versions take it. What does not: what a run computes, which knows nothing of where. It
needs the extra ``celery``, and nothing imports it but ``dagster.yaml`` (the launcher) and a worker's command.
"""
