"""Files that mean harm: a corpus of them, and what the real pipeline makes of each.

What belongs here: making the files, the same for the same seed, and running `audio-assets` over them. What
does not: what a file ought to end in, beyond a row or a typed failure; the tests of decoding say that.
"""
