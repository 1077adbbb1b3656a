"""essentia and librosa, imported in one place and told to be quiet.

Importing this module costs about a second warm and far more with a cold numba cache, so nothing imports
it at the top of a module: the functions that analyse do. A worker pool may preload it by name
(`audio_assets.features.PRELOAD`).

Nothing is computed here.
"""

from typing import Any

import essentia

# HPCP warns once a frame that has no peak, and importing essentia.standard announces itself.
essentia.log.infoActive = False
essentia.log.warningActive = False

import essentia.standard  # noqa: E402
import librosa  # noqa: E402
import librosa.beat  # noqa: E402 - librosa loads its submodules lazily; a preload wants them now
import librosa.feature  # noqa: E402
import librosa.onset  # noqa: E402

#: essentia makes its algorithms at import, out of the type checker's sight.
es: Any = essentia.standard

__all__ = ["es", "librosa"]
