"""Who asks, and what they may do: the user's own `langgraph_sdk.Auth` object at work. No HTTP, no storage."""
