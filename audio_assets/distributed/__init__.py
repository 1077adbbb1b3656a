"""Runs in workers of their own, on this machine or others, that keep the model loaded: Celery's, by dagster-celery.

What belongs here: which queue a run goes to, whether the worker that executes it still lives, and that only
workers of the same versions take it. What does not: what a run computes, which knows nothing of where. An extra
(``celery``): nothing imports this but ``dagster.yaml`` (the launcher) and the command of a worker.
"""
