import { expect, test } from "vitest";
import { layered, layersOf } from "../src/draw/layers";
import { type GraphEdge, type GraphNode, folded, isQuick, layout } from "../src/draw/layout";

const MOMENT_MS = 1_000;

function nodesOf(ids: string[]): GraphNode[] {
  return ids.map((id) => ({ id, label: id, kind: id === "__start__" ? "start" : id === "__end__" ? "end" : "node" }));
}

function edgesOf(pairs: [string, string][]): GraphEdge[] {
  return pairs.map(([source, target]) => ({ source, target, conditional: false }));
}

/** A path of so many nodes, each of which may also end. */
function path(count: number): { nodes: GraphNode[]; edges: GraphEdge[] } {
  const ids = ["__start__", ...Array.from({ length: count - 2 }, (_, index) => `step${index}`), "__end__"];
  const pairs = ids.slice(1).map((id, index): [string, string] => [ids[index] ?? "", id]);
  return { nodes: nodesOf(ids), edges: edgesOf([...pairs, ...ids.slice(1, -2).map((id): [string, string] => [id, "__end__"])]) };
}

function overlaps(drawn: ReturnType<typeof layout>): boolean {
  return drawn.nodes.some((a, index) =>
    drawn.nodes.slice(index + 1).some((b) => a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height),
  );
}

test("a layer is one more than the deepest before it, and a way back makes none", () => {
  const pairs: [string, string][] = [["s", "a"], ["a", "b"], ["b", "c"], ["a", "c"], ["c", "a"], ["c", "c"], ["x", "c"]];
  expect([...layersOf(["a", "b", "c", "s", "x"], edgesOf(pairs))]).toEqual([["a", 1], ["b", 2], ["c", 3], ["s", 0], ["x", 0]]);
  expect([...layersOf(["c", "b", "a"], edgesOf([["a", "b"], ["b", "c"], ["c", "b"]])).values()]).toEqual([2, 1, 0]);
});

test.each([
  ["deep", path(1_000)],
  ["wide", { nodes: nodesOf(["__start__", ...Array.from({ length: 998 }, (_, index) => `w${index}`), "__end__"]), edges: edgesOf(Array.from({ length: 998 }, (_, index): [string, string][] => [["__start__", `w${index}`], [`w${index}`, "__end__"]]).flat()) }],
  ["in circles", { nodes: nodesOf(Array.from({ length: 1_000 }, (_, index) => `n${index}`)), edges: edgesOf(Array.from({ length: 3_000 }, (_, index): [string, string] => [`n${(index * 7) % 1_000}`, `n${(index * 131 + 17) % 1_000}`])) }],
])("a %s graph of 1,000 nodes is laid out in a moment, in its frame and without overlaps", (_, { nodes, edges }) => {
  expect(isQuick(nodes, edges)).toBe(false);
  const began = performance.now();
  const drawn = layout(nodes, edges);
  expect(performance.now() - began).toBeLessThan(MOMENT_MS);
  expect(overlaps(drawn)).toBe(false);
  expect(drawn.nodes.every(({ x, y, width, height }) => x >= 0 && y >= 0 && x + width <= drawn.width && y + height <= drawn.height)).toBe(true);
  expect(drawn.width).toBeLessThan(3_000);
  expect(drawn.edges.every((edge) => edge.path.startsWith("M"))).toBe(true);
  expect(layout(nodes, edges)).toEqual(drawn);
});

test("nodes of a layer stand below those that lead to them", () => {
  const boxes = ["r", "a", "b", "c", "z", "y", "x"].map((id) => ({ id, width: 100, height: 32 }));
  const links = edgesOf([["r", "a"], ["r", "b"], ["r", "c"], ["a", "x"], ["b", "y"], ["c", "z"]]);
  const at = layered(boxes, links).corners.map(({ x }) => x);
  expect(at.slice(4)).toEqual([at[3], at[2], at[1]]);
});

test("a folded graph has its subgraphs as nodes, and the edges between them once", () => {
  const nodes = nodesOf(["__start__", "plan", "research:search", "research:read", "__end__"]);
  const edges = edgesOf([["__start__", "plan"], ["plan", "research:search"], ["plan", "research:read"], ["research:search", "research:read"], ["research:read", "__end__"], ["plan", "plan"]]);
  const after = folded(nodes, edges);
  expect(after.nodes.map(({ id }) => id)).toEqual(["__start__", "plan", "research", "__end__"]);
  expect(after.edges.map(({ source, target }) => `${source} ${target}`)).toEqual(["__start__ plan", "plan research", "research __end__", "plan plan"]);
});

test("an empty graph has an empty picture", () => {
  expect(layered([], [])).toMatchObject({ corners: [], paths: [] });
});
