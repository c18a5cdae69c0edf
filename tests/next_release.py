"""The newest version of CHANGELOG.md, to be released or at its tag. Files name it; builds ask git."""

import re
from pathlib import Path
from typing import Final

VERSION: Final = re.findall(
    r"^## \[(\d+\.\d+\.\d+)\]",
    (Path(__file__).parents[1] / "CHANGELOG.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)[0]
