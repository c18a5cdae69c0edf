"""The scripts that refresh the catalogue read their sources as they are, and change nothing else."""

import importlib.util
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from exporter.tariff.catalogue import Catalogue
from exporter.tariff.csv_tables import BUNDLED

TOOLS = Path(__file__).parents[2] / "tools"

AWS = """\
package pricing
// generated at 2026-12-01T00:00:00Z for us-east-1
var InitialOnDemandPricesAWS = map[string]map[ec2types.InstanceType]float64{
	// us-east-1
	"us-east-1": {
		// p5 family
		"m7i.large": 0.100800, "p5.48xlarge": 50.000000, "p6-b200.48xlarge": 100.000000,
		"p7.48xlarge": 300.000000, "g4ad.xlarge": 0.378530,
	},
}
"""

AZURE = """\
func init() {
	// eastus
	initialOnDemandPrices["eastus"] = map[string]float64{
		"Standard_ND96isr_H100_v5": 90.000000,
		"Standard_ND128isr_NDR_GB200_v6": 108.000000,
	}
	// westeurope
	initialOnDemandPrices["westeurope"] = map[string]float64{
		"Standard_ND96isr_H100_v5": 99.500000,
	}
}
"""


def shop(**prices: str) -> str:
    entries = {
        name: {"Instance Type": name.replace("_", "."), "price": price} for name, price in prices.items()
    }
    return json.dumps({"manifest": {}, "regions": {"Somewhere": entries}})


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs a script of tools/ on a copy of the bundled catalogue, and gives that."""
    shutil.copytree(BUNDLED, tmp_path / "data")

    def run(name: str, *arguments: str | Path) -> Catalogue:
        spec = importlib.util.spec_from_file_location(f"tool_{name}", TOOLS / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module: ModuleType = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setattr(module, "DATA", tmp_path / "data")
        monkeypatch.setattr("sys.argv", [name, *map(str, arguments)])
        assert module.main() == 0
        return Catalogue(tmp_path / "data")

    return run


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_nothing_named_changes_nothing(tool: Callable[..., Catalogue], tmp_path: Path) -> None:
    """The tables are written as they were."""
    tool("instances")

    for file in ("instances.csv", "market.csv"):
        assert (tmp_path / "data" / file).read_bytes() == (BUNDLED / file).read_bytes()


def test_new_prices_of_amazon_reach_every_region(
    tool: Callable[..., Catalogue], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """us-east-1 as listed; a region at its ratio of then: 50.00 x 117.984 / 98.32 = 60.00."""
    (tmp_path / "shop").mkdir()
    written(tmp_path / "shop" / "us-east-1-ondemand.json", shop(p5_48xlarge="98.3200000000"))
    written(tmp_path / "shop" / "eu-north-1-ondemand.json", shop(p5_48xlarge="117.9840000000"))
    written(tmp_path / "shop" / "eu-north-1-wl1-ondemand.json", shop(p5_48xlarge="1"))
    written(tmp_path / "shop" / "ca-west-1-previousgen-ondemand.json", "<?xml version='1.0'?><Error/>")
    catalog = tool(
        "instances",
        *("--karpenter-aws", written(tmp_path / "aws.go", AWS)),
        *("--ec2-shop", tmp_path / "shop"),
    )

    hours = {region: catalog.instance("aws", "p5.48xlarge", region) for region in ("us-east-1", "eu-north-1")}
    assert [str(listing and listing.on_demand) for listing in hours.values()] == ["50", "60"]
    b200 = catalog.instance("aws", "p6-b200.48xlarge", "us-east-1")
    assert b200 is not None
    assert str(b200.on_demand) == "100"
    assert catalog.instance("aws", "p7.48xlarge", "us-east-1") is None  # nobody says which GPUs it has
    assert catalog.instance("aws", "g6.xlarge", "us-east-1") is None  # no longer listed
    market = catalog.market("H100-SXM5-80GB")
    assert market is not None
    assert market.large is not None
    assert str(market.large.dollars_per_gpu) == "6.25"  # 50 / 8
    north = catalog.instance("aws", "p5.48xlarge", "eu-north-1")
    assert north is not None
    assert (north.standing, north.as_of) == ("scaled", "2025-04-05")
    assert catalog.damage() == ""
    assert "karpenter-aws: not in the table: p7.48xlarge\n" in capsys.readouterr().out


def test_azures_are_read_by_region_and_what_is_no_quote_is_left_out(
    tool: Callable[..., Catalogue], tmp_path: Path
) -> None:
    """The GB200 sizes keep their count of GPUs and have no price."""
    catalog = tool("instances", "--karpenter-azure", written(tmp_path / "azure.go", AZURE))

    for region, hour in (("eastus", "90"), ("westeurope", "99.5")):
        listing = catalog.instance("azure", "ND96isr_H100_v5", region)
        assert listing is not None
        assert str(listing.on_demand) == hour
    gb200 = catalog.instance("azure", "ND128isr_NDR_GB200_v6", "eastus")
    assert gb200 is not None
    assert (gb200.devices, gb200.on_demand) == (4, None)


def test_offers_that_can_be_bought_are_taken_from_the_wheel(
    tool: Callable[..., Catalogue], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not those of closed weights, at 0, deprecated, of another kind, or of a host that is not asked."""
    cost = {"input_cost_per_token": 1.5e-07, "output_cost_per_token": 6e-07, "mode": "chat"}
    entries = {
        "groq/openai/gpt-oss-120b": {
            **cost,
            "litellm_provider": "groq",
            "cache_read_input_token_cost": 7.5e-08,
        },
        "groq/whisper": {**cost, "litellm_provider": "groq", "mode": "audio_transcription"},
        "together_ai/Old": {**cost, "litellm_provider": "together_ai", "deprecation_date": "2020-01-01"},
        "together_ai/Free": {**cost, "litellm_provider": "together_ai", "input_cost_per_token": 0.0},
        "anthropic/claude": {**cost, "litellm_provider": "anthropic"},
        "us.meta.llama3-3-70b": {**cost, "litellm_provider": "bedrock_converse"},
        "deepinfra/anthropic/claude-4": {**cost, "litellm_provider": "deepinfra"},
    }
    wheel = tmp_path / "litellm-9.9.9-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("litellm/model_prices_and_context_window_backup.json", json.dumps(entries))
    catalog = tool("hosted", "--wheel", wheel)

    assert (tmp_path / "data" / "hosted.csv").read_text() == (
        "provider,model,prompt,cached_prompt,generation,source\n"
        "groq,openai/gpt-oss-120b,0.15,0.075,0.6,litellm\n"
    )
    assert [offer.provider for offer in catalog.hosted("gpt-oss-120b")] == ["groq"]
    assert capsys.readouterr().out.startswith("litellm 9.9.9: 1 offers; 0 new, 792 gone\n")
