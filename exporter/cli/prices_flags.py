"""The flags of `prices show` and `prices update`, without their code."""

import argparse
from pathlib import Path
from typing import Final

from exporter.cli import flags
from exporter.cli.flags import Exits

CONFIG: Final = "the daemon's configuration in YAML, for its prices.path"


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add them to the program's parser."""
    group = flags.add_group(
        verbs, "prices", "show the list prices in use, or replace them", "show --cloud=aws"
    )
    acts = group.add_subparsers(dest="act", required=True, metavar="show|update")
    _add_show(acts)
    _add_update(acts)


def _add_show(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    show = flags.add_verb(
        verbs,
        "show",
        "show which list prices are in use, how old they are, and what an instance type costs",
        examples=(
            ("", "the price file in use, and what it has of each cloud"),
            (
                "--cloud=aws --instance-type=p5.48xlarge --region=eu-north-1",
                "the price of a type in a region, and where it is from",
            ),
            ("--json", "the same for programs"),
        ),
        exits=Exits(
            "printed", "no list has the type, or what it has is damaged", "the price file or a flag is wrong"
        ),
        of="prices",
    )
    flags.config(show, CONFIG)
    show.add_argument("--cloud", metavar="CLOUD", help="whose instance type it is: aws, azure, gcp, ...")
    show.add_argument("--instance-type", metavar="TYPE", help="the type, as its cloud spells it")
    show.add_argument("--region", metavar="REGION", default="", help="the region, as its cloud spells it")
    show.add_argument("--json", action="store_true", help="print JSON")
    show.set_defaults(run=_show)


def _add_update(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    update = flags.add_verb(
        verbs,
        "update",
        "check a price file, and put it where the daemon reads it",
        examples=(
            ("prices.csv", "replace the list prices of this host; reload the daemon to use them"),
            ("prices.csv --dry-run", "check the file, and change nothing"),
        ),
        exits=Exits(
            "written, or a dry run that would be",
            "it cannot be written",
            "the price file, the configuration or a flag is wrong",
        ),
        of="prices",
    )
    flags.config(update, CONFIG)
    update.add_argument(
        "file",
        metavar="FILE",
        help="the price file, see docs/prices.md; - reads standard input, as into a container",
    )
    update.add_argument("--dry-run", action="store_true", help="check the file, and write nothing")
    update.set_defaults(run=_update)


def _show(chosen: argparse.Namespace) -> int:
    from exporter.cli.prices import PriceQuery, show  # noqa: PLC0415

    named = chosen.cloud is not None, chosen.instance_type is not None
    if any(named) != all(named) or (chosen.region and not all(named)):
        chosen.parser.error("--cloud and --instance-type go together, and --region with them")
    wanted = PriceQuery(chosen.cloud, chosen.instance_type, chosen.region) if all(named) else None
    return show(chosen.config_file, wanted, as_json=chosen.json)


def _update(chosen: argparse.Namespace) -> int:
    from exporter.cli.prices import update  # noqa: PLC0415

    source = None if chosen.file == "-" else Path(chosen.file)
    return update(source, chosen.config_file, dry_run=chosen.dry_run)
