import { expect, test } from "vitest";
import { alike, answerOf, questionOf, resumeOf, shapeOf } from "../src/pages/inbox/shape";
import { INVALID, blankOf, holdsInvalid, kindOf, problemOf, resolved, variantOf, variantsOf } from "../src/parts/schema";

const request = { action_request: { action: "delete", args: { path: "a" } }, config: { allow_accept: true, allow_respond: true, allow_edit: false, allow_ignore: false } };

test("an interrupt's shape is known by its schema, or by its value", () => {
  expect(shapeOf({ value: request, response_schema: { type: "boolean" } }).kind).toBe("schema");
  const human = shapeOf({ value: [request, request] });
  expect(human).toMatchObject({ kind: "human", actions: [{ name: "delete", allowed: ["accept", "respond"] }, { name: "delete" }] });
  expect(shapeOf({ value: [] }).kind).toBe("open");
  expect(shapeOf({ value: { action_request: "x", config: {} } }).kind).toBe("open");
  expect(alike(human, shapeOf({ value: [request] }))).toBe(false);
});

test("answers have the form that the graph takes", () => {
  const human = shapeOf({ value: request });
  if (human.kind !== "human") throw new Error(human.kind);
  expect(answerOf(human, [{ type: "respond", args: {}, text: "no" }])).toEqual([{ type: "response", args: "no" }]);
  expect(answerOf(human, [{ type: "accept", args: {}, text: "" }])).toEqual([{ type: "accept", args: null }]);
  const id = "0123456789abcdef0123456789abcdef";
  expect(resumeOf({ id }, null)).toEqual({ [id]: null });
  expect(resumeOf({ id: "old" }, 1)).toBe(1);
  expect(questionOf({ value: { question: "Go on?", amount: 2 } })).toBe("Go on?");
});

test("references, nulls and alternatives of a schema are followed", () => {
  const schema = {
    type: "object",
    required: ["decision"],
    properties: {
      decision: { oneOf: [{ $ref: "#/$defs/Yes" }, { $ref: "#/$defs/No" }] },
      note: { anyOf: [{ type: "string" }, { type: "null" }], default: null },
    },
    $defs: {
      Yes: { type: "object", properties: { type: { const: "yes" } }, required: ["type"] },
      No: { type: "object", properties: { type: { const: "no" }, reason: { type: "string" } }, required: ["type", "reason"] },
    },
  };
  expect(kindOf(resolved(schema.properties.note, schema), schema)).toBe("text");
  const variants = variantsOf(schema.properties.decision, schema);
  expect(variants.map((one) => one.name)).toEqual(["yes", "no"]);
  expect(variantOf(variants, { type: "no" })).toBe(1);
  expect(blankOf(schema)).toEqual({ decision: { type: "yes" }, note: null });
  expect(problemOf(schema, blankOf(schema))).toBeUndefined();
  expect(problemOf(schema, { decision: { type: "no" } })).toBe("reason is missing");
  expect(kindOf(resolved({ $ref: "#/$defs/loop" }, { $defs: { loop: { $ref: "#/$defs/loop" } } }), {})).toBe("json");
  expect(holdsInvalid({ a: [INVALID] })).toBe(true);
});
