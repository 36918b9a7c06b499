/** Where the boxes and lines of a graph's picture are. Pure; beyond `IN_WORKER` nodes it is computed in a worker. */

import dagre from "@dagrejs/dagre";

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

export const IN_WORKER = 150;

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

export function layout(nodes: GraphNode[], edges: GraphEdge[]): Drawn {
  const graph = new dagre.graphlib.Graph({ multigraph: true });
  graph.setGraph({ rankdir: "TB", ranker: "tight-tree", nodesep: 20, ranksep: 28, marginx: MARGIN, marginy: MARGIN });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const node of nodes) graph.setNode(node.id, { width: widthOf(node), height: node.kind === "node" ? HEIGHT : ROUND });
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
