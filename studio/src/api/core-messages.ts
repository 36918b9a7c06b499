/**
 * In place of `@langchain/core/messages` (100 kB compressed). The SDK uses it only in `threads.stream`, which Studio does not call:
 * it takes messages as the server's JSON.
 */

class Unavailable {
  constructor() {
    refuse();
  }

  static isInstance(): boolean {
    return false;
  }
}

function refuse(): never {
  throw new Error("Studio is built without message classes: use runs.joinStream");
}

export {
  Unavailable as AIMessage,
  Unavailable as AIMessageChunk,
  Unavailable as BaseMessage,
  Unavailable as BaseMessageChunk,
  Unavailable as HumanMessage,
  Unavailable as HumanMessageChunk,
  Unavailable as RemoveMessage,
  Unavailable as SystemMessage,
  Unavailable as ToolMessage,
  Unavailable as SystemMessageChunk,
  Unavailable as ToolMessageChunk,
  refuse as coerceMessageLikeToMessage,
  refuse as convertToChunk,
};
