"""librosa, imported in one place with the submodules that it would else load at first use.

The import takes about a second, so it is left to the functions that analyse. Nothing is computed here.
"""

import librosa
import librosa.beat
import librosa.feature
import librosa.onset

__all__ = ["librosa"]
