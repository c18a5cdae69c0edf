"""Tenants of a gateway: the labels of a series to the team and product that pay."""

import re
from collections.abc import Mapping, Sequence
from fnmatch import translate
from typing import Final

from exporter.config.settings import GatewayTenant
from exporter.config.values import has_wildcards
from exporter.cost.postings import OTHER
from exporter.readings import label, tenant_name

SEPARATOR: Final = "/"
"""Between the values of several labels, as between namespace and name."""

REMEMBERED_MAX: Final = 20_000
"""Tenants whose row is remembered: as many as a page may have series."""

UNLISTED_MAX: Final = 20
"""Tenants without a row that are named; the others are counted."""


class TenantTable:
    """Configured tenants. The first that matches decides; one that none matches is of team `other`.

    A series without a value of any label has no tenant. `unnamed` are words that are no values.
    """

    def __init__(
        self, labels: Sequence[str], tenants: Sequence[GatewayTenant], unnamed: Sequence[str]
    ) -> None:
        self._labels = tuple(labels)
        self._unnamed = frozenset(unnamed)
        self._names = tuple(tenant_name(row.team, row.product) for row in tenants)
        self._exact = {
            row.match: index for index, row in reversed([*enumerate(tenants)]) if not has_wildcards(row.match)
        }
        self._patterns = tuple(
            (index, re.compile(translate(row.match)))
            for index, row in enumerate(tenants)
            if has_wildcards(row.match)
        )
        self._known: dict[str, str | None] = {}  # `None`: no row matches
        self._unlisted: set[str] = set()

    @property
    def unlisted(self) -> Sequence[str]:
        """Tenants of this page without a row, in order."""
        return sorted(self._unlisted)

    def begin_page(self) -> None:
        """Forget the tenants of the last page that had no row."""
        self._unlisted = set()

    def name(self, labels: Mapping[str, str]) -> str:
        """The tenant's name by the labels of a series."""
        values = [labels.get(name, "") for name in self._labels]
        tenant = SEPARATOR.join("" if value in self._unnamed else label(value) for value in values)
        if not tenant.strip(SEPARATOR):
            return ""
        if tenant not in self._known:
            if len(self._known) >= REMEMBERED_MAX:
                self._known = {}
            row = self._exact.get(tenant, len(self._names))
            for index, pattern in self._patterns:
                if index < row and pattern.match(tenant):
                    row = index
                    break
            self._known[tenant] = self._names[row] if row < len(self._names) else None
        name = self._known[tenant]
        if name is None:
            self._unlisted.add(tenant)
        return OTHER if name is None else name
