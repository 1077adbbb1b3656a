"""The soak test: an hour of everything at once, against an oracle. ``make soak``.

A driver (``__main__``) drops, edits, moves, removes and damages files of a small library (``edits``), while
the daemon works, commands are given and processes are killed (``site``), and readers look on (``readers``).
Every few minutes it stops, waits until all is current, and compares every table with what the ``oracle`` says
(``comparison``). Any difference fails the soak.

What belongs here: what a long run can find and a test cannot. What does not: cases that can be made to
happen at will, which are tests.
"""
