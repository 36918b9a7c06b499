import { expect, test } from "vitest";
import { changedKeys, same } from "../src/diff/state";
import { type GraphEdge, type GraphNode, layout } from "../src/draw/layout";
import { skeletonOf, takesMessages } from "../src/pages/thread/schema";
import { ago, size, span, titleOf } from "../src/parts/format";
import { href, parseRoute } from "../src/routes";

test("an address says what it was made from", () => {
  const address = href(["threads", "a b/c"], { view: "steps", cp: null, q: "owner=ann x" });
  expect(address).toBe("#/threads/a%20b%2Fc?view=steps&q=owner%3Dann+x");
  const { path, query } = parseRoute(address);
  expect([path, query.get("q"), query.get("cp")]).toEqual([["threads", "a b/c"], "owner=ann x", null]);
});

test("times are told as people tell them", () => {
  const now = new Date(2026, 10, 30, 12, 0).getTime();
  const hour = 3_600_000;
  expect([10_000, 120_000, 5 * hour, 26 * hour, 3 * 24 * hour, 40 * 24 * hour].map((past) => ago(now - past, now))).toEqual([
    "now", "2 min", "5 h", "yesterday", "Fri", "21 Oct",
  ]);
  expect([87, 3_100, 125_000, 3_720_000].map(span)).toEqual(["87 ms", "3.1 s", "2 min 5 s", "1 h 2 min"]);
  expect([0, 999, 1_500, 12_300, 1_100_000, 25e9].map(size)).toEqual(["0 B", "999 B", "1.5 kB", "12 kB", "1.1 MB", "25 GB"]);
});

test("a title is the given one, or the first message on one line", () => {
  expect(titleOf({ title: "Given" }, "first")).toBe("Given");
  expect(titleOf({}, [{ type: "text", text: "two\n lines" }])).toBe("two lines");
  expect(titleOf(null, undefined)).toBe("");
});

test("changes of a state are found by key, at any depth", () => {
  const before = { a: 1, b: { c: [1, 2] }, d: null };
  expect(changedKeys(before, { a: 1, b: { c: [1, 3] }, d: null, e: 0 })).toEqual(new Set(["b", "e"]));
  expect([same([], {}), same({ a: undefined }, {}), same([1, [2]], [1, [2]])]).toEqual([false, false, true]);
});

test("an input to begin with has each property of the schema", () => {
  const schema = {
    properties: { invoice: { type: "string" }, amount: { type: "number" }, order: { $ref: "#/$defs/Order" }, note: { anyOf: [{ type: "string" }, { type: "null" }] } },
    $defs: { Order: { type: "object" } },
  };
  expect(skeletonOf(schema)).toEqual({ invoice: "", amount: 0, order: {}, note: null });
  expect([takesMessages(schema), takesMessages({ properties: { messages: {} } }), takesMessages({})]).toEqual([false, true, true]);
});

test("a graph is laid out from start to end without overlaps", () => {
  const nodes: GraphNode[] = ["__start__", "plan", "tools", "__end__"].map((id) => ({ id, label: id, kind: "node" }));
  const edges: GraphEdge[] = [["__start__", "plan"], ["plan", "tools"], ["tools", "plan"], ["plan", "__end__"]].map(([source = "", target = ""]) => ({ source, target, conditional: false }));
  const drawn = layout(nodes, edges);
  const [start, plan, tools] = drawn.nodes;
  expect(start!.y + start!.height).toBeLessThan(plan!.y);
  expect(plan!.y + plan!.height).toBeLessThan(tools!.y);
  expect(drawn.edges.every((edge) => edge.path.startsWith("M"))).toBe(true);
  expect(drawn).toEqual(layout(nodes, edges));
});
