/** What kind of answer an interrupt asks for. Pure. */

import type { Interrupted } from "../../live/reducer";
import type { Schema } from "../../parts/schema";

export interface Action {
  name: string;
  args: Record<string, unknown>;
  description: string | undefined;
  allowed: string[];
}

export type Shape =
  /** The graph gives a JSON Schema of the answer. */
  | { kind: "schema"; schema: Schema }
  /** `HumanInterrupt`: the answer is a list with one response for each request. */
  | { kind: "human"; actions: Action[] }
  /** `HITLRequest` of LangChain's middleware: the answer has one decision for each action. */
  | { kind: "review"; actions: Action[] }
  /** Nothing is said of the answer. */
  | { kind: "open" };

const RESPONSES = ["accept", "edit", "respond", "ignore"] as const;

export function shapeOf(one: Interrupted): Shape {
  if (isObject(one.response_schema)) return { kind: "schema", schema: one.response_schema as Schema };
  const human = humanActions(one.value);
  if (human !== undefined) return { kind: "human", actions: human };
  const review = reviewActions(one.value);
  return review === undefined ? { kind: "open" } : { kind: "review", actions: review };
}

/** Whether one form can answer both: they allow the same, whatever they are about. */
export function alike(a: Shape, b: Shape): boolean {
  return JSON.stringify(outline(a)) === JSON.stringify(outline(b));
}

function outline(shape: Shape): unknown {
  return "actions" in shape ? [shape.kind, shape.actions.map((one) => one.allowed)] : shape;
}

/** What a person decided on one action. `text` is the answer, the reason or nothing. */
export interface Decision {
  type: string;
  args: unknown;
  text: string;
}

/** The value to resume with. */
export function answerOf(shape: Shape & { actions: Action[] }, decisions: Decision[]): unknown {
  const answers = decisions.map((decision, index) => {
    const action = shape.actions[index];
    if (shape.kind === "human") return humanAnswer(decision, action?.name ?? "");
    return reviewAnswer(decision, action?.name ?? "");
  });
  return shape.kind === "human" ? answers : { decisions: answers };
}

function humanAnswer({ type, args, text }: Decision, name: string): unknown {
  if (type === "edit") return { type, args: { action: name, args } };
  if (type === "respond") return { type: "response", args: text };
  return { type, args: null };
}

function reviewAnswer({ type, args, text }: Decision, name: string): unknown {
  if (type === "edit") return { type, edited_action: { name, args } };
  if (type === "approve") return { type };
  return text || type === "respond" ? { type, message: text } : { type };
}

function humanActions(value: unknown): Action[] | undefined {
  const requests = Array.isArray(value) ? value : [value];
  if (requests.length === 0) return undefined;
  const actions = requests.map((one): Action | undefined => {
    const { action_request: action, config, description } = isObject(one) ? one : {};
    if (!isObject(action) || !isObject(config) || typeof action["action"] !== "string") return undefined;
    return {
      name: action["action"],
      args: isObject(action["args"]) ? action["args"] : {},
      description: typeof description === "string" ? description : undefined,
      allowed: RESPONSES.filter((name) => config[`allow_${name}`] === true),
    };
  });
  return actions.every((one) => one !== undefined) ? actions : undefined;
}

function reviewActions(value: unknown): Action[] | undefined {
  if (!isObject(value) || !Array.isArray(value["action_requests"]) || !Array.isArray(value["review_configs"])) return undefined;
  const configs = (value["review_configs"] as unknown[]).filter(isObject);
  const actions = (value["action_requests"] as unknown[]).map((one): Action | undefined => {
    if (!isObject(one) || typeof one["name"] !== "string") return undefined;
    const allowed = configs.find((config) => config["action_name"] === one["name"])?.["allowed_decisions"];
    return {
      name: one["name"],
      args: isObject(one["args"]) ? one["args"] : {},
      description: typeof one["description"] === "string" ? one["description"] : undefined,
      allowed: Array.isArray(allowed) ? allowed.filter((name) => typeof name === "string") : ["approve", "edit", "reject"],
    };
  });
  return actions.length > 0 && actions.every((one) => one !== undefined) ? actions : undefined;
}

/** Of several questions a resume names the one that it answers. Ids are 32 hexadecimal digits. */
export function resumeOf(one: Interrupted, value: unknown): unknown {
  return one.id !== undefined && /^[0-9a-f]{32}$/.test(one.id) ? { [one.id]: value } : value;
}

/** What an interrupt asks, on one line. */
export function questionOf(one: Interrupted): string {
  const shape = shapeOf(one);
  if ("actions" in shape) return shape.actions.map((action) => action.description ?? action.name).join(", ");
  const { value } = one;
  if (typeof value === "string") return value;
  if (!isObject(value)) return value === undefined ? "" : JSON.stringify(value);
  const said = ["question", "description", "message", "prompt", "text"].map((key) => value[key]).find((text) => typeof text === "string");
  return typeof said === "string" ? said : JSON.stringify(value);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
