/** What a JSON Schema asks for, as far as a form can show it. Pure. */

export interface Schema {
  type?: unknown;
  title?: string;
  description?: string;
  properties?: Record<string, Schema>;
  required?: string[];
  default?: unknown;
  const?: unknown;
  enum?: unknown[];
  anyOf?: Schema[];
  oneOf?: Schema[];
  allOf?: Schema[];
  $ref?: string;
  $defs?: Record<string, Schema>;
  definitions?: Record<string, Schema>;
  format?: string;
  minimum?: number;
  maximum?: number;
}

/** How a value is asked for. `json`: there is no input for it but its JSON. */
export type Kind = "text" | "number" | "integer" | "boolean" | "choice" | "object" | "variants" | "constant" | "json";

/** A field holds text that is no JSON. */
export const INVALID = Symbol("invalid JSON");

const MOST_REFERENCES = 20;

/** The schema with its reference followed, and without the alternative `null`. Nothing else is changed. */
export function resolved(schema: Schema, root: Schema): Schema {
  let found = schema;
  for (let steps = 0; steps < MOST_REFERENCES; steps++) {
    const next = stepOf(found, root);
    if (next === undefined) break;
    found = { ...next, ...labelsOf(found) };
  }
  return found;
}

function stepOf(schema: Schema, root: Schema): Schema | undefined {
  if (schema.$ref !== undefined) {
    const name = decodeURIComponent(schema.$ref.split("/").at(-1) ?? "");
    return root.$defs?.[name] ?? root.definitions?.[name] ?? {};
  }
  const parts = schema.allOf ?? alternativesOf(schema);
  return parts?.length === 1 ? parts[0] : undefined;
}

/** The alternatives other than null. */
function alternativesOf(schema: Schema): Schema[] | undefined {
  return (schema.anyOf ?? schema.oneOf)?.filter((one) => one.type !== "null");
}

function labelsOf({ title, description, default: preset }: Schema): Schema {
  return {
    ...(title === undefined ? {} : { title }),
    ...(description === undefined ? {} : { description }),
    ...(preset === undefined ? {} : { default: preset }),
  };
}

export function takesNull(schema: Schema): boolean {
  return schema.type === "null" || (Array.isArray(schema.type) && schema.type.includes("null")) || (schema.anyOf ?? schema.oneOf ?? []).some((one) => one.type === "null");
}

/** @param schema a resolved one. */
export function kindOf(schema: Schema, root: Schema): Kind {
  if (schema.const !== undefined) return "constant";
  if (schema.enum !== undefined) return "choice";
  const alternatives = alternativesOf(schema);
  if (alternatives !== undefined) return alternatives.every((one) => kindOf(resolved(one, root), root) === "object") ? "variants" : "json";
  const types = (Array.isArray(schema.type) ? schema.type : [schema.type]).filter((type) => type !== "null");
  if (types.length !== 1) return "json";
  if (types[0] === "string") return "text";
  if (types[0] === "number" || types[0] === "integer" || types[0] === "boolean") return types[0];
  return types[0] === "object" && Object.keys(schema.properties ?? {}).length > 0 ? "object" : "json";
}

/** The alternatives of a schema of the kind `variants`, resolved, with their names. */
export function variantsOf(schema: Schema, root: Schema): { name: string; schema: Schema }[] {
  return (alternativesOf(schema) ?? []).map((one, index) => {
    const schema = resolved(one, root);
    const constant = Object.values(schema.properties ?? {}).find((part) => part.const !== undefined)?.const;
    return { name: typeof constant === "string" ? constant : (schema.title ?? `Variant ${index + 1}`), schema };
  });
}

/** A value to begin with. Undefined where the person has to write something, or may leave the field empty. */
export function blankOf(schema: Schema, root: Schema = schema): unknown {
  const whole = resolved(schema, root);
  if (whole.default !== undefined) return whole.default;
  switch (kindOf(whole, root)) {
    case "constant":
      return whole.const;
    case "object":
      return objectOf(whole, root);
    case "variants":
      return objectOf(variantsOf(whole, root)[0]?.schema ?? {}, root);
    default:
      return undefined;
  }
}

function objectOf(schema: Schema, root: Schema): Record<string, unknown> {
  const needed = new Set(schema.required ?? []);
  return Object.fromEntries(
    Object.entries(schema.properties ?? {})
      .map(([name, part]) => [name, needed.has(name) || part.default !== undefined ? blankOf(part, root) : undefined])
      .filter(([, value]) => value !== undefined),
  ) as Record<string, unknown>;
}

/** What is missing or wrong, in a few words; undefined: the value can be sent. */
export function problemOf(schema: Schema, value: unknown, root: Schema = schema, name = ""): string | undefined {
  const whole = resolved(schema, root);
  const label = name || whole.title || "The value";
  if (value === INVALID) return `${label}: no JSON yet`;
  if (value === undefined) return `${label} is missing`;
  if (value === null && takesNull(schema)) return undefined;
  switch (kindOf(whole, root)) {
    case "number":
    case "integer":
      if (typeof value !== "number" || (kindOf(whole, root) === "integer" && !Number.isInteger(value))) return `${label} is no ${kindOf(whole, root) === "integer" ? "whole number" : "number"}`;
      if (whole.minimum !== undefined && value < whole.minimum) return `${label} is at least ${whole.minimum}`;
      if (whole.maximum !== undefined && value > whole.maximum) return `${label} is at most ${whole.maximum}`;
      return undefined;
    case "object":
      return partsProblem(whole, value, root);
    case "variants": {
      const variants = variantsOf(whole, root);
      return partsProblem(variants[variantOf(variants, value)]?.schema ?? {}, value, root);
    }
    default:
      return undefined;
  }
}

function partsProblem(schema: Schema, value: unknown, root: Schema): string | undefined {
  const given = (value ?? {}) as Record<string, unknown>;
  const needed = new Set(schema.required ?? []);
  for (const [name, part] of Object.entries(schema.properties ?? {})) {
    if (given[name] === undefined && !needed.has(name)) continue;
    const problem = problemOf(part, given[name], root, resolved(part, root).title ?? name);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

/** Which of the variants a value is of: the one whose constants it has. */
export function variantOf(variants: { schema: Schema }[], value: unknown): number {
  const given = (value ?? {}) as Record<string, unknown>;
  const found = variants.findIndex(({ schema }) => {
    const constants = Object.entries(schema.properties ?? {}).filter(([, part]) => part.const !== undefined);
    return constants.length > 0 && constants.every(([name, part]) => given[name] === part.const);
  });
  return Math.max(0, found);
}

/** A property's name as a label: `order_id` is "Order id". */
export function labelOf(name: string, schema: Schema): string {
  // Titles that Pydantic makes up of the name say no more than it.
  if (schema.title && schema.title.toLowerCase() !== name.replaceAll("_", " ").toLowerCase()) return schema.title;
  const words = name.replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** Whether a field somewhere within holds text that is no JSON. */
export function holdsInvalid(value: unknown): boolean {
  if (value === INVALID) return true;
  return typeof value === "object" && value !== null && Object.values(value).some(holdsInvalid);
}
