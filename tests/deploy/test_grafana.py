"""What Grafana is started with: it finds the data source and the dashboards."""

from pathlib import Path

import yaml


def test_grafana_finds_dashboards_and_data_source() -> None:
    """The provisioning files are of the form that Grafana reads, and of nothing that stands elsewhere."""
    folder = Path(__file__).parents[2] / "deploy" / "grafana" / "provisioning"
    page = (Path(__file__).parents[2] / "docs" / "dashboards.md").read_text()
    sources = yaml.safe_load((folder / "datasources" / "prometheus.yaml").read_text())
    providers = yaml.safe_load((folder / "dashboards" / "inference-cost.yaml").read_text())

    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) == [
        "dashboards/inference-cost.yaml",
        "datasources/prometheus.yaml",
    ]
    assert sources == {
        "apiVersion": 1,
        "datasources": [
            {
                "name": "Prometheus",
                "type": "prometheus",
                "access": "proxy",
                "url": "http://localhost:9090",
                "jsonData": {"httpMethod": "POST", "timeInterval": "30s"},
            }
        ],
    }
    assert providers == {
        "apiVersion": 1,
        "providers": [
            {
                "name": "inference-cost",
                "type": "file",
                "folder": "Inference cost",
                "allowUiUpdates": False,
                "options": {"path": "/var/lib/grafana/dashboards/inference-cost"},
            }
        ],
    }
    (provider,) = providers["providers"]
    assert f"sudo cp dashboards/*.json {provider['options']['path']}/" in page
