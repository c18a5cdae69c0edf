"""How clouds spell their regions, as far as that is known. Pure but for the table it reads.

Those of `instances.csv`, and a list, kept by hand, of regions in which it has no price: those that the SDKs
(botocore's partitions, OCI's region definitions) and the documentation of the clouds name, government and
China included. A region that was opened since is not among them.
"""

from collections.abc import Iterable
from typing import Final

from exporter.tariff.instances import EVERYWHERE
from exporter.tariff.table import Row

_BY_CLOUD: Final = """
AWS:
  ap-east-2 ap-south-2 ap-southeast-4 ap-southeast-6 ap-southeast-7 ca-west-1 cn-north-1 cn-northwest-1
  eu-isoe-west-1 eusc-de-east-1 mx-central-1 us-iso-east-1 us-iso-west-1 us-isob-east-1 us-isof-east-1
  us-isof-south-1
Azure:
  austriaeast belgiumcentral brazilsoutheast chilecentral chinaeast chinaeast2 chinaeast3 chinanorth
  chinanorth2 chinanorth3 denmarkeast newzealandnorth swedensouth taiwannorth taiwannorthwest
  usdodcentral usdodeast usgovarizona usgovtexas usgovvirginia westindia
Google:
  africa-south1 asia-east2 asia-northeast2 asia-southeast3 europe-central2 europe-north2
  europe-southwest1 europe-west12 me-central1 northamerica-south1 southamerica-east1 southamerica-west1
  us-west2
Nebius:
  eu-north1 eu-north2 eu-west1 me-west1 uk-south1 us-central1
OCI:
  af-johannesburg-1 ap-chiyoda-1 ap-chuncheon-1 ap-chuncheon-2 ap-dcc-canberra-1 ap-dcc-gazipur-1
  ap-hyderabad-1 ap-ibaraki-1 ap-melbourne-1 ap-mumbai-1 ap-osaka-1 ap-seoul-1 ap-seoul-2 ap-singapore-1
  ap-singapore-2 ap-suwon-1 ap-sydney-1 ap-tokyo-1 ca-montreal-1 ca-toronto-1 eu-amsterdam-1
  eu-crissier-1 eu-dcc-dublin-1 eu-dcc-dublin-2 eu-dcc-milan-1 eu-dcc-milan-2 eu-dcc-rating-1
  eu-dcc-rating-2 eu-dcc-zurich-1 eu-frankfurt-1 eu-frankfurt-2 eu-jovanovac-1 eu-madrid-1 eu-madrid-2
  eu-marseille-1 eu-milan-1 eu-paris-1 eu-stockholm-1 eu-zurich-1 il-jerusalem-1 me-abudhabi-1
  me-abudhabi-2 me-abudhabi-3 me-abudhabi-4 me-dcc-doha-1 me-dcc-muscat-1 me-dubai-1 me-jeddah-1
  me-riyadh-1 mx-monterrey-1 mx-queretaro-1 sa-bogota-1 sa-santiago-1 sa-saopaulo-1 sa-valparaiso-1
  sa-vinhedo-1 uk-cardiff-1 uk-gov-cardiff-1 uk-gov-london-1 uk-london-1 us-ashburn-1 us-chicago-1
  us-gov-ashburn-1 us-gov-chicago-1 us-gov-phoenix-1 us-langley-1 us-luke-1 us-phoenix-1 us-saltlake-2
  us-sanjose-1 us-somerset-1 us-thames-1
"""

WITHOUT_PRICES: Final = frozenset(word for word in _BY_CLOUD.split() if not word.endswith(":"))


def regions(table: Iterable[Row]) -> frozenset[str]:
    """Every region whose spelling is known.

    Raises:
        CatalogueError: the table is damaged.
    """
    return WITHOUT_PRICES | {row["region"] for row in table if row["region"] != EVERYWHERE}
