"""What is said of GPUs that the configuration says have left."""

import json
from dataclasses import replace
from pathlib import Path

from exporter.config import parse
from exporter.cost.policy import CostPolicy
from exporter.reports.check_config import check_config
from exporter.reports.doctor import diagnose
from tests.reports.test_doctor import CONFIG, FINE, NOW, PRICED, findings

TEXT = """retired:
  - {uuid: GPU-3e000000-0000-4000-8000-000000000003, from: 2026-11-20, note: sold}
  - {uuid: GPU-99000000-0000-4000-8000-000000000099, from: 2026-11-20}
"""


def test_the_doctor_names_one_that_is_here() -> None:
    """It is charged, so that a wrong entry makes nothing free; one that is not here is no finding."""
    sold, gone = parse(TEXT.encode()).retired
    config = replace(CONFIG, retired=(replace(sold, uuid="GPU-3"), gone))
    actual = findings(diagnose(config, CostPolicy(PRICED), FINE, NOW))

    assert [one for one in actual if "retired" in one] == [
        (
            "warning: GPU GPU-3 is here and charged, though `retired` says that it left on 2026-11-20: "
            "correct its uuid or `from`, or take the entry out."
        )
    ]


def test_a_configuration_that_is_checked_tells_them(tmp_path: Path) -> None:
    """In words and as JSON; without any there is no line about them."""
    file = tmp_path / "ice.yaml"
    file.write_text(TEXT)
    status, words = check_config(file, NOW)
    assert status == 0
    listed = (
        "retired GPUs:\n  uuid GPU-3e000000-0000-4000-8000-000000000003, since 2026-11-20, note sold\n"
        "  uuid GPU-99000000-0000-4000-8000-000000000099, since 2026-11-20\n"
    )
    assert listed in words
    _, actual = check_config(file, NOW, as_json=True)
    assert json.loads(actual)["retired"] == [
        {"uuid": "GPU-3e000000-0000-4000-8000-000000000003", "from": "2026-11-20", "note": "sold"},
        {"uuid": "GPU-99000000-0000-4000-8000-000000000099", "from": "2026-11-20", "note": ""},
    ]

    file.write_text("interval: 10s\n")
    assert "retired" not in check_config(file, NOW)[1]
