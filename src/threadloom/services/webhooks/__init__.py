"""Webhooks: where they may go (`policy`), what they are told (`payload`), how (`post`), until they were (`delivery`), and
what is known of that afterwards (`log`)."""

from threadloom.services.webhooks.delivery import WebhookSender
from threadloom.services.webhooks.log import DeliveryService
from threadloom.services.webhooks.policy import WebhookPolicy

__all__ = ["DeliveryService", "WebhookPolicy", "WebhookSender"]
