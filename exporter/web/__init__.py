"""The web server: HTTP, TLS, authentication, the page."""
