"""essentia, imported in one place and told to be quiet.

The import takes about half a second, so nothing does it at the top of a module that others import early:
the functions that analyse do.

Nothing is computed here.
"""

from typing import Any

import essentia

# HPCP warns once a frame that has no peak, and importing essentia.standard announces itself.
essentia.log.infoActive = False
essentia.log.warningActive = False

import essentia.standard  # noqa: E402

#: essentia makes its algorithms at import, out of the type checker's sight.
es: Any = essentia.standard
