"""The configuration of the server: `langgraph.json` and the environment, read into frozen `Settings`.

`load` is the entry point; `settings` has the records, `environment` the variables, `blocks` the readers of each block.
"""

from threadloom.config.load import DATA_FOLDER, FILE_NAME, load
from threadloom.config.settings import (
    AuthSettings,
    CheckpointerSettings,
    Cors,
    EncryptionSettings,
    Environment,
    GraphSpec,
    HeaderRules,
    HttpSettings,
    RetentionSettings,
    Serde,
    Settings,
    StoreIndex,
    StoreSettings,
    StoreTtl,
    ThreadloomSettings,
    ThreadTtlSettings,
    WebhookSettings,
    WebhookUrlRules,
)

__all__ = [
    "DATA_FOLDER",
    "FILE_NAME",
    "AuthSettings",
    "CheckpointerSettings",
    "Cors",
    "EncryptionSettings",
    "Environment",
    "GraphSpec",
    "HeaderRules",
    "HttpSettings",
    "RetentionSettings",
    "Serde",
    "Settings",
    "StoreIndex",
    "StoreSettings",
    "StoreTtl",
    "ThreadTtlSettings",
    "ThreadloomSettings",
    "WebhookSettings",
    "WebhookUrlRules",
    "load",
]
