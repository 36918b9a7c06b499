"""The agent card: the description of an assistant for other agents."""

import threadloom
from threadloom.services.a2a_wire import Object
from threadloom.services.input_schema import as_object, fields, takes_messages
from threadloom.types import Assistant

MODES = ["application/json", "text/plain"]
HISTORY_SCOPE = {
    "uri": "https://langchain.com/a2a/extensions/history-scope/v1",
    "required": False,
    "description": "Whether a task's history is that of its whole context or of the task alone.",
    "params": {
        "header": "LangGraph-A2A-History-Scope",
        "values": ["context", "task"],
        "default": "context",
        "methods": ["SendMessage", "GetTask", "ListTasks"],
    },
}


def agent_card(assistant: Assistant, schema: Object | None, base: str) -> Object:
    """Returns the agent card of an assistant.

    Args:
        schema: the input schema of its graph; None if it is not known.
        base: the URL of the server, without a slash at its end.
    """
    description = assistant.description or f"{assistant.name} assistant"
    url = f"{base}/a2a/{assistant.assistant_id}"
    shown = {
        "required": as_object(schema).get("required", []),
        "properties": list(fields(schema)),
        "supportsA2A": takes_messages(schema),
    }
    return {
        "name": assistant.name,
        "description": description,
        "url": url,
        "supportedInterfaces": [{"url": url, "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}],
        "capabilities": {
            "streaming": True,
            "pushNotifications": False,
            "stateTransitionHistory": False,
            "extensions": [HISTORY_SCOPE],
        },
        "defaultInputModes": MODES,
        "defaultOutputModes": MODES,
        "skills": [
            {
                "id": f"{assistant.assistant_id}-main",
                "name": f"{assistant.name} Capabilities",
                "description": description,
                "tags": ["assistant", "langgraph"],
                "examples": [],
                "inputModes": MODES,
                "outputModes": MODES,
                "metadata": {"inputSchema": shown},
            }
        ],
        "version": threadloom.__version__,
    }
