"""Authentication and authorization with the user's `langgraph_sdk.Auth` object. Uses no HTTP and no storage."""
