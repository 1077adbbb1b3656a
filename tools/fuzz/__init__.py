"""Coverage-guided search for input that breaks a promise.

What belongs here: the promises, as functions that raise if one is broken (the tests use them too), and what
feeds them bytes. What does not: bad audio files (``tools.hostile``).
"""
