"""The OpenAI-compatible front: keys, groups, routes, the wake guard."""

from components.gateway.config import ApiKey, GatewaySettings, Group, Keeper, RoutedModel, WakeGuard
from components.gateway.gateway import Gateway

__all__ = ["ApiKey", "Gateway", "GatewaySettings", "Group", "Keeper", "RoutedModel", "WakeGuard"]
