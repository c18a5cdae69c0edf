"""The pictures of the page in the docs show the page as it is, and are few and small."""

import json
from pathlib import Path

import pytest

from tests.web.scenes import MANIFEST, PICTURES, SCENES, Picture, document, manifest

IMAGES = Path(__file__).parents[2] / "docs" / "images"
MOST_BYTES = 100_000


def test_pictures_are_of_the_page_as_it_is() -> None:
    """Of the same bytes of HTML; if they differ, `tools/pictures` takes them anew. Look at each then."""
    taken = json.loads((IMAGES / MANIFEST).read_text(encoding="utf-8"))

    changed = [name for name, page in manifest().items() if taken.get(name) != page]
    assert changed == [], "run `tools/pictures`"
    assert taken.keys() == manifest().keys()


@pytest.mark.parametrize("picture", PICTURES, ids=[picture.file for picture in PICTURES])
def test_a_picture_is_small(picture: Picture) -> None:
    """A reader on a slow line waits for it."""
    content = (IMAGES / picture.file).read_bytes()

    assert (content[:4], content[8:12]) == (b"RIFF", b"WEBP")
    assert len(content) < MOST_BYTES


def test_every_scene_has_a_picture() -> None:
    """And a page of its own."""
    assert SCENES.keys() <= {picture.scene for picture in PICTURES}
    assert len({document(name) for name in SCENES}) == len(SCENES)
