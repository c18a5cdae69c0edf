"""A web configuration in words and for programs: what `check-config` says of one. Pure."""

from typing import Any

from exporter.config.web import ClientConfig, WebConfig


def web_words(config: WebConfig) -> str:
    """How connections are encrypted, and who may ask."""
    if config.tls is None:
        return f"plain HTTP, {_users(config)}"
    return f"HTTPS, {_certificates(config.tls.clients)}, {_users(config)}"


def web_document(config: WebConfig) -> dict[str, Any]:
    """The same as JSON has it; no hash of a password is in it."""
    clients = None if config.tls is None else config.tls.clients
    return {
        "tls": config.tls is not None,
        "client_certificates": None if clients is None else "required" if clients.required else "if_given",
        "client_allowed_sans": [] if clients is None else list(clients.names),
        "users": sorted(config.users),
    }


def _certificates(clients: ClientConfig | None) -> str:
    if clients is None:
        return "no certificates of clients"
    names = f" for {' or '.join(clients.names)}" if clients.names else ""
    return f"certificates of clients {'required' if clients.required else 'verified if given'}{names}"


def _users(config: WebConfig) -> str:
    return f"passwords of {', '.join(sorted(config.users))}" if config.users else "no passwords"
