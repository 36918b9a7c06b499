/** What a graph's input schema (JSON Schema) says of its input. Pure. */

import type { Schema } from "../../parts/schema";

const EMPTY: Record<string, unknown> = { string: "", number: 0, integer: 0, boolean: false, array: [], object: {} };

/** Whether the input is a conversation. A schema that says nothing might be one. */
export function takesMessages(schema: unknown): boolean {
  const { properties } = (schema ?? {}) as Schema;
  return properties === undefined || "messages" in properties;
}

/** An input to begin with: each property with its default or an empty value. */
export function skeletonOf(schema: unknown): Record<string, unknown> {
  const whole = (schema ?? {}) as Schema;
  return Object.fromEntries(Object.entries(whole.properties ?? {}).map(([name, part]) => [name, valueOf(part, whole)]));
}

function valueOf(part: Schema, whole: Schema): unknown {
  if (part.default !== undefined) return part.default;
  if (part.enum !== undefined) return part.enum[0];
  const named = part.$ref?.split("/").at(-1);
  if (named !== undefined) return valueOf(whole.$defs?.[named] ?? {}, { ...whole, $defs: {} });
  if (part.anyOf !== undefined) return part.anyOf.some((one) => one.type === "null") ? null : valueOf(part.anyOf[0] ?? {}, whole);
  return EMPTY[String(part.type)] ?? null;
}
