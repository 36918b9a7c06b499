"""What the server does. No HTTP, no SQL: routes call these, these call the engine and the storage."""
