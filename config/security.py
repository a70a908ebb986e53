"""The security settings as aiokafka takes them: one form for workers, rebuilds and the API."""

from __future__ import annotations

from typing import Any

from config.settings import Kafka


def client_security(kafka: Kafka) -> dict[str, Any]:
    """aiokafka's form of the security settings."""
    from aiokafka.helpers import create_ssl_context

    security: dict[str, Any] = {"security_protocol": kafka.security_protocol}
    if kafka.security_protocol.startswith("SASL"):
        security |= {
            "sasl_mechanism": kafka.sasl_mechanism,
            "sasl_plain_username": kafka.sasl_username,
            "sasl_plain_password": kafka.sasl_password,
        }
    if kafka.security_protocol.endswith("SSL"):
        security["ssl_context"] = create_ssl_context(cafile=kafka.ssl_cafile or None)
    return security
