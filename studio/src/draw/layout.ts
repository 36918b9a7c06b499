/**
 * Where the boxes and lines of a graph's picture are. Pure. dagre draws graphs of the usual size; its time grows with the square of
 * the layers that the edges pass, so larger ones have a layout of their own (`layers.ts`).
 */

import dagre from "@dagrejs/dagre";
import { layered, layersOf, lengthOf } from "./layers";

export interface GraphNode {
  id: string;
  label: string;
  kind: "start" | "end" | "node";
}

export interface GraphEdge {
  source: string;
  target: string;
  conditional: boolean;
}

export interface Drawn {
  width: number;
  height: number;
  nodes: (GraphNode & { x: number; y: number; width: number; height: number })[];
  edges: (GraphEdge & { path: string })[];
}

/** Beyond this many nodes and passed layers a layout is computed in a worker: dagre takes some 50 ms for as many. */
const AT_ONCE = 80;
const MOST_NODES = 150;
const MOST_PASSED = 400;
/** Beyond this many nodes subgraphs are drawn as one node each, until a person asks for them. */
export const FOLDED_BEYOND = 150;
/** Beyond this many nodes there is no picture. */
export const MOST_DRAWN = 5_000;

const HEIGHT = 32;
const ROUND = 24;
const LETTER = 7;
const MARGIN = 8;
const LONGEST = 28;

/** The parts of a graph as `assistants.getGraph` answers them. */
export function partsOf(answer: { nodes: { id: string | number; name?: string; data?: unknown }[]; edges: { source: string; target: string; conditional?: boolean }[] }): {
  nodes: GraphNode[];
  edges: GraphEdge[];
} {
  return {
    nodes: answer.nodes.map((node) => {
      const id = String(node.id);
      const kind = id === "__start__" ? "start" : id === "__end__" ? "end" : "node";
      return { id, kind, label: kind === "node" ? shortened(id.split(":").join(" › ")) : kind };
    }),
    edges: answer.edges.map(({ source, target, conditional }) => ({ source: String(source), target: String(target), conditional: conditional === true })),
  };
}

/** Whether a layout is so quick that it needs no worker. */
export function isQuick(nodes: GraphNode[], edges: GraphEdge[]): boolean {
  return nodes.length <= AT_ONCE && passed(nodes, edges) <= AT_ONCE;
}

/** A graph with each of its subgraphs as one node. */
export function folded(nodes: GraphNode[], edges: GraphEdge[]): { nodes: GraphNode[]; edges: GraphEdge[] } {
  const outer = (id: string) => id.split(":")[0] ?? id;
  const kept = new Map<string, GraphNode>();
  for (const node of nodes) {
    const id = outer(node.id);
    if (!kept.has(id)) kept.set(id, { ...node, id, label: node.id === id ? node.label : shortened(id) });
  }
  const joined = new Map<string, GraphEdge>();
  for (const edge of edges) {
    const [source, target] = [outer(edge.source), outer(edge.target)];
    const inner = source === target && edge.source !== edge.target;
    if (!inner) joined.set(`${source}\n${target}\n${edge.conditional}`, { ...edge, source, target });
  }
  return { nodes: [...kept.values()], edges: [...joined.values()] };
}

export function layout(nodes: GraphNode[], edges: GraphEdge[]): Drawn {
  const boxes = nodes.map((node) => ({ id: node.id, width: widthOf(node), height: node.kind === "node" ? HEIGHT : ROUND }));
  if (nodes.length <= MOST_NODES && passed(nodes, edges) <= MOST_PASSED) return byDagre(nodes, edges, boxes);
  const { width, height, corners, paths } = layered(boxes, edges);
  return {
    width,
    height,
    nodes: nodes.map((node, index) => ({ ...node, x: 0, y: 0, ...corners[index], width: boxes[index]?.width ?? 0, height: boxes[index]?.height ?? 0 })),
    edges: edges.map((edge, index) => ({ ...edge, path: paths[index] ?? "" })),
  };
}

function passed(nodes: GraphNode[], edges: GraphEdge[]): number {
  return lengthOf(layersOf(nodes.map(({ id }) => id), edges), edges);
}

function byDagre(nodes: GraphNode[], edges: GraphEdge[], boxes: { id: string; width: number; height: number }[]): Drawn {
  const graph = new dagre.graphlib.Graph({ multigraph: true });
  graph.setGraph({ rankdir: "TB", ranker: "tight-tree", nodesep: 20, ranksep: 28, marginx: MARGIN, marginy: MARGIN });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const { id, width, height } of boxes) graph.setNode(id, { width, height });
  edges.forEach((edge, index) => graph.setEdge(edge.source, edge.target, {}, String(index)));
  dagre.layout(graph);
  const { width = 0, height = 0 } = graph.graph() as { width?: number; height?: number };
  return {
    width: Math.ceil(width),
    height: Math.ceil(height),
    nodes: nodes.map((node) => {
      const at = graph.node(node.id) as { x: number; y: number; width: number; height: number };
      return { ...node, x: rounded(at.x - at.width / 2), y: rounded(at.y - at.height / 2), width: at.width, height: at.height };
    }),
    edges: edges.map((edge, index) => {
      const drawn = graph.edge({ v: edge.source, w: edge.target, name: String(index) }) as { points: { x: number; y: number }[] };
      return { ...edge, path: curve(drawn.points) };
    }),
  };
}

/** A smooth line through points: straight to the middle of each stretch, bent at the points between. */
export function curve(points: { x: number; y: number }[]): string {
  const [first, ...rest] = points;
  if (first === undefined) return "";
  const parts = [`M${rounded(first.x)} ${rounded(first.y)}`];
  rest.forEach((point, index) => {
    const next = rest[index + 1];
    if (next === undefined) parts.push(`L${rounded(point.x)} ${rounded(point.y)}`);
    else parts.push(`Q${rounded(point.x)} ${rounded(point.y)} ${rounded((point.x + next.x) / 2)} ${rounded((point.y + next.y) / 2)}`);
  });
  return parts.join("");
}

function widthOf(node: GraphNode): number {
  return node.kind === "node" ? Math.max(100, node.label.length * LETTER + 74) : 80;
}

function shortened(label: string): string {
  return label.length > LONGEST ? `${label.slice(0, LONGEST - 1)}…` : label;
}

function rounded(value: number): number {
  return Math.round(value * 10) / 10;
}
