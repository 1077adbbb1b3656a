"""Importing this module makes a process ready for its first track; a fork server preloads it.

Whatever goes wrong here goes wrong again in each worker, where it becomes the track's failure. Here it would
end the fork server, and the workers with it before they could say why.
"""

import contextlib

with contextlib.suppress(Exception):
    from audio_assets.features.fast import warm

    warm()
