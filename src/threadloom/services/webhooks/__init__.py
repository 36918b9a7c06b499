"""Webhooks: the permitted URLs (`policy`), the body (`payload`), the HTTP request (`post`), the attempts (`delivery`), and the
log of deliveries (`log`).
"""

from threadloom.services.webhooks.delivery import WebhookSender
from threadloom.services.webhooks.log import DeliveryService
from threadloom.services.webhooks.policy import WebhookPolicy

__all__ = ["DeliveryService", "WebhookPolicy", "WebhookSender"]
