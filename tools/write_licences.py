"""Write docs/licences.md from what is installed: ``python -m tools.write_licences``.

A licence that nobody has looked at yet is an error, not a line: whoever adds a package decides what it asks.
"""

import re
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "licences.md"
LOCK = ROOT / "requirements.lock"

#: What packages call their licence, by its SPDX identifier.
_SPDX = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache 2.0 License": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD": "BSD (which one is not said)",
    "BSD License": "BSD (which one is not said)",
    "GNU Library or Lesser General Public License (LGPL)": "LGPL-3.0-or-later",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "BSD 3-Clause OR Apache-2.0": "BSD-3-Clause OR Apache-2.0",
}
#: These ask for a notice at most, and go with the AGPL in version 3.
_PERMISSIVE = re.compile(
    r"(MIT|MIT-0|MIT-CMU|BSD-2-Clause|BSD-3-Clause|0BSD|BSD \(which one is not said\)|Apache-2\.0"
    r"|Apache-2\.0 WITH LLVM-exception|ISC|PSF-2\.0|Zlib|CC0-1\.0|BSL-1\.0|CNRI-Python)"
)
#: What asks for more, and what that means here.
_LOOKED_AT = {
    "certifi": "Files of it that are changed have to be shown; we change none.",
    "essentia": "The reason why audio-assets is under the AGPL. Its licence is version 3 *only*: "
    "audio-assets by itself may be taken under a later version, together with essentia under version 3.",
    "hypothesis": "Tests only. Files of it that are changed have to be shown; we change none.",
    "mutagen": "May be taken under version 3 of the GPL, which goes with the AGPL.",
    "pathspec": "Files of it that are changed have to be shown; we change none.",
    "psycopg2-binary": "Loaded as a library, only for PostgreSQL.",
    "soxr": "Loaded as a library, which may be replaced.",
    "tqdm": "Files of it that are changed have to be shown; we change none.",
}
#: Libraries inside of wheels, which the licence of the package does not speak of.
_BUNDLED = {
    "av": "FFmpeg, built with x264 and x265, so under the GPL as a whole",
    "soundfile": "libsndfile (LGPL-2.1-or-later) with mpg123, LAME and Opus",
    "numpy, scipy": "OpenBLAS (BSD-3-Clause) and GCC's runtime (GPL-3.0 with the runtime exception)",
}
_INTRODUCTION = """# Licences

audio-assets is under AGPL-3.0-or-later. These are the {count} packages of `requirements.lock`, tests and
linters included, with the licence that each one's own metadata names. The page is made by `python -m
tools.write_licences`, and a test holds it to the lock; a licence that nobody has looked at is an error there.
It is no legal advice.

## Those that ask for more than a notice

Nothing here forbids use together with the AGPL in version 3. Who lets others use a changed audio-assets over
a network has to offer them its source. Licences without copyleft (MIT, BSD, Apache-2.0, ISC, PSF and the
like) go with it as they are.

| package | licence | |
|---|---|---|
"""
_BETWEEN = """
Inside of wheels, and so inside of an image that is handed on:

| wheel | brings |
|---|---|
"""
_ALL = """
Weights of CLAP models that are fetched are under licences of their own; the demo model is audio-assets' own.

## All

| package | version | licence |
|---|---|---|
"""


class UnknownLicenceError(Exception):
    """A package has a licence that nobody has looked at."""


def locked() -> dict[str, str]:
    """Version of each package of the lock."""
    lines = LOCK.read_text(encoding="utf-8").splitlines()
    pins = (line.partition(" ;")[0] for line in lines if line and not line.startswith("#"))
    return dict(pin.split("==", 1) for pin in pins)


def page() -> str:
    """Render the page.

    Raises
    ------
    UnknownLicenceError
        A package is neither permissive nor among those that were looked at.
    """
    versions = locked()
    licences = {name: licence_of(name) for name in versions}
    for name, licence in licences.items():
        if name not in _LOOKED_AT and not _is_permissive(licence):
            raise UnknownLicenceError(
                f"{name} is under {licence!r}: find out what that asks next to the AGPL, and say so in "
                f"{Path(__file__).name}"
            )
    more = [f"| {n} | {licences[n]} | {what} |" for n, what in _LOOKED_AT.items() if n in licences]
    bundled = [f"| {name} | {what} |" for name, what in _BUNDLED.items()]
    rows = [f"| {name} | {versions[name]} | {licences[name]} |" for name in versions]
    return "\n".join(
        [
            _INTRODUCTION.format(count=len(versions)).rstrip(),
            *more,
            _BETWEEN.rstrip(),
            *bundled,
            _ALL.rstrip(),
            *rows,
            "",
        ]
    )


def licence_of(name: str) -> str:
    """Licence that an installed package's metadata names."""
    found = metadata.metadata(name).json
    if expression := found.get("license_expression"):
        return _normal(str(expression))
    classifiers = [line.split(" :: ") for line in found.get("classifier", [])]
    named = {_normal(line[-1]) for line in classifiers if line[0] == "License" and line[-1] != "OSI Approved"}
    if named:
        return " AND ".join(sorted(named))
    return _normal(str(found.get("license", "")).strip().partition("\n")[0])


def _normal(name: str) -> str:
    return _SPDX.get(name, name)


def _is_permissive(licence: str) -> bool:
    """Whether all that hold at once are, or one of those to choose from is."""
    return all(
        any(_PERMISSIVE.fullmatch(choice) for choice in part.split(" OR ")) for part in licence.split(" AND ")
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
