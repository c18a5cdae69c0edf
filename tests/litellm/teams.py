"""Who asks the LiteLLM proxy of the tests: keys and their teams, without a database. It runs in the proxy."""

from typing import Any

from litellm.proxy._types import UserAPIKeyAuth

TEAMS: dict[str, tuple[str | None, str | None]] = {
    "sk-of-search": ("team-1", "Search"),
    "sk-of-support": ("team-2", "Support"),
    "sk-of-nobody": (None, None),
    "sk-of-late": (None, None),
}


async def admit(_: Any, api_key: str) -> UserAPIKeyAuth:
    """Who a key is of."""
    team, alias = TEAMS[api_key.removeprefix("Bearer ")]
    return UserAPIKeyAuth(api_key=api_key, key_alias=api_key, team_id=team, team_alias=alias)
