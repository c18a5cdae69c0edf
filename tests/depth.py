"""How much is tried: so much in each run of the tests, more by `tools/nightly` and `tools/deep`.

Profiles of Hypothesis. That of each run tries the same examples every time, so that a change makes it fail
and chance does not. The others try new ones every time and shrink what fails: four times as many each night,
and by `tools/deep` forty times as many.
"""

from typing import Any, Final

from hypothesis import Phase, settings

TESTS: Final = "tests"
NIGHTLY: Final = "nightly"
DEEP: Final = "deep"
_HYPOTHESIS: Final = 100
"""Examples that Hypothesis takes where nobody says how many; the numbers that tests name go with it."""

# A busy machine is slow: how long an example takes says nothing of the code.
settings.register_profile(
    TESTS,
    deadline=None,
    max_examples=25,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),  # to shrink takes minutes, and a test has two
)
settings.register_profile(NIGHTLY, deadline=None, max_examples=100, print_blob=True)
settings.register_profile(DEEP, deadline=None, max_examples=1_000, print_blob=True)


def examples(count: int, **others: Any) -> settings:
    """Settings of a test that takes `count` examples where others take 100, and more or fewer as they do."""
    return settings(max_examples=count * settings().max_examples // _HYPOTHESIS, **others)


def deep() -> bool:
    """Whether this is `tools/deep`; known once pytest has read its command line."""
    return settings.get_current_profile_name() == DEEP
