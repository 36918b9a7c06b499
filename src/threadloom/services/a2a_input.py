"""Converts a message to a graph's input, or to answers to a thread's open questions."""

from threadloom.services.a2a_wire import A2aMessage, Object, invalid
from threadloom.services.input_schema import fields, takes_messages
from threadloom.services.open_questions import questions_of
from threadloom.types import Thread


def graph_input(message: A2aMessage, schema: Object | None) -> Object:
    """Returns the graph input for a message: its merged data, and its texts and files as a chat message.

    Raises:
        A2aError: the graph takes no messages.
    """
    values = message.data
    content = message.content
    if content is None:
        return values
    if not takes_messages(schema):
        known = ", ".join(fields(schema)) or "none"
        raise invalid(f"The agent takes no text or files: its input has no 'messages'. Available fields: {known}")
    role = "assistant" if message.role == "agent" else "user"
    before = values.get("messages")
    chat = {"role": role, "content": content, "id": message.message_id}
    return {**values, "messages": [*(before if isinstance(before, list) else []), chat]}


def answers(message: A2aMessage, thread: Thread) -> Object:
    """Returns a message as answers to the open questions of a thread, by the ids of the questions.

    Raises:
        A2aError: several questions are open, and the message does not name the one that it answers.
    """
    asked = questions_of(thread)
    data, content = message.data, message.content
    if data and content is None and set(data) <= set(asked):
        return data
    if len(asked) > 1:
        raise invalid(f"Several questions wait: answer with a data part {{id: answer}}. Their ids: {', '.join(asked)}")
    if content is None:
        return {asked[0]: data}
    return {asked[0]: {**data, "content": content} if data else content}
