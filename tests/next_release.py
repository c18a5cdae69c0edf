"""The version that this tree is on its way to, or is: the newest of CHANGELOG.md. Files name it; builds ask git."""

import re
from pathlib import Path
from typing import Final

VERSION: Final = re.findall(
    r"^## \[(\d+\.\d+\.\d+)\]",
    (Path(__file__).parents[1] / "CHANGELOG.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)[0]
