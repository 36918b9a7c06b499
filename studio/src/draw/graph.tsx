/** The picture of a graph, with what its nodes are doing. */

import { memo, useEffect, useMemo, useReducer, useState } from "react";
import { client } from "../api/client";
import { useQuery } from "../api/query";
import type { NodeState } from "../live/reducer";
import { number, span } from "../parts/format";
import { Empty, Failure } from "../parts/notices";
import { type Drawn, FOLDED_BEYOND, type GraphEdge, type GraphNode, MOST_DRAWN, folded, isQuick, layout, partsOf } from "./layout";
import { Picture, type View, inView } from "./picture";

interface Props {
  assistantId: string;
  states: ReadonlyMap<string, NodeState>;
  picked: string | null;
  onPick: (node: string) => void;
}

export function GraphPicture({ assistantId, states, picked, onPick }: Props) {
  const graph = useQuery(`graph ${assistantId}`, () => client.assistants.getGraph(assistantId, { xray: true }));
  const [unfolded, unfold] = useState(false);
  const { drawn, count, size, isFolded } = useLayout(graph.data as Answer | undefined, unfolded);
  const now = useNow([...states.values()].some((state) => state.running > 0));
  const [focused, setFocused] = useState("");
  const isLarge = size > FOLDED_BEYOND;
  const shownStates = useMemo(() => (isFolded ? foldedStates(states) : states), [isFolded, states]);
  if (graph.error !== undefined) return <Failure error={graph.error} what="The graph cannot be drawn" retry={graph.reload} />;
  if (size > MOST_DRAWN)
    return (
      <Empty icon="graphs" title="Too large for a picture">
        This graph has {number(size)} nodes. Up to {number(MOST_DRAWN)} are drawn.
      </Empty>
    );
  if (drawn === undefined) return <div className="bone" style={{ width: 120, margin: "24px auto" }} role="status" aria-label="Loading" />;

  const running = drawn.nodes.filter((node) => (shownStates.get(node.id)?.running ?? 0) > 0);
  const passed = (node: string) => {
    const state = shownStates.get(node);
    return node === "__start__" ? shownStates.size > 0 : state !== undefined && state.done > 0;
  };
  return (
    <>
      {isFolded && (
        <div className="bar">
          <span>Subgraphs are folded: {number(count)} nodes.</span>
          <button type="button" className="btn quiet" onClick={() => unfold(true)}>
            Show all
          </button>
        </div>
      )}
      <Picture
        width={drawn.width}
        height={drawn.height}
        label={running.length > 0 ? `Graph, running: ${running.map(({ id }) => id).join(", ")}` : "Graph"}
        reveal={running[0]}
      >
        {(view) => (
          <>
            {drawn.edges.map((edge, index) => {
              if (isLarge && !inView(edge.box, view)) return null;
              const hot = passed(edge.source) && (passed(edge.target) || running.some(({ id }) => id === edge.target));
              return <path key={index} className={`edge ${edge.conditional ? "maybe" : ""} ${hot ? "hot" : ""}`} d={edge.path} />;
            })}
            {drawn.nodes.map((node) => {
              if (isLarge && node.id !== focused && !inView(node, view)) return null;
              const state = shownStates.get(node.id);
              return <NodeBox key={node.id} node={node} look={look(state)} words={state === undefined ? "" : words(state, now)} picked={picked === node.id} onPick={onPick} onFocus={setFocused} />;
            })}
          </>
        )}
      </Picture>
    </>
  );
}

interface NodeBoxProps {
  node: Drawn["nodes"][number];
  look: string;
  words: string;
  picked: boolean;
  onPick: (node: string) => void;
  /** A node that has the focus stays, wherever the picture is moved. */
  onFocus: (node: string) => void;
}

const NodeBox = memo(function NodeBox({ node, look, words, picked, onPick, onFocus }: NodeBoxProps) {
  const { x, y, width, height, label } = node;
  if (node.kind !== "node") {
    return (
      <g>
        <rect className="node" x={x} y={y} width={width} height={height} rx={height / 2} />
        <text className="t2" x={x + width / 2} y={y + height / 2 + 4} textAnchor="middle">
          {label}
        </text>
      </g>
    );
  }
  return (
    <g
      role="button"
      tabIndex={0}
      aria-pressed={picked}
      aria-label={`${label}${words && `, ${words}`}`}
      style={{ cursor: "pointer" }}
      onClick={() => onPick(node.id)}
      onFocus={() => onFocus(node.id)}
      onKeyDown={(event) => (event.key === "Enter" || event.key === " ") && onPick(node.id)}
    >
      <title>{node.id}</title>
      <rect className={`node ${look} ${picked ? "picked" : ""}`} x={x} y={y} width={width} height={height} rx={6} />
      <text x={x + 12} y={y + height / 2 + 4}>
        {`${label} `}
      </text>
      <text className="t2" x={x + width - 10} y={y + height / 2 + 4} textAnchor="end">
        {words}
      </text>
    </g>
  );
}, sameBox);

/** `onPick` does the same whenever it is made. */
function sameBox(a: NodeBoxProps, b: NodeBoxProps): boolean {
  return a.node === b.node && a.look === b.look && a.words === b.words && a.picked === b.picked;
}

/** What a subgraph's nodes are doing, taken together. */
function foldedStates(states: ReadonlyMap<string, NodeState>): Map<string, NodeState> {
  const joined = new Map<string, NodeState>();
  for (const [path, state] of states) {
    const outer = path.split(":")[0] ?? path;
    const before = joined.get(outer);
    if (before === undefined || path === outer) joined.set(outer, before ? { ...state, failed: state.failed || before.failed, waits: state.waits || before.waits } : state);
    else joined.set(outer, { ...before, failed: before.failed || state.failed, waits: before.waits || state.waits });
  }
  return joined;
}

function look(state: NodeState | undefined): string {
  if (state === undefined) return "";
  if (state.failed) return "failed";
  if (state.running > 0) return "now";
  if (state.waits) return "waits";
  return state.done > 0 ? "done" : "";
}

function words(state: NodeState, now: number): string {
  if (state.failed) return "failed";
  if (state.running > 0) return state.running > 1 ? `${state.running} run` : span(Math.max(0, now - (state.since ?? now)));
  if (state.waits) return "waits";
  return `✓ ${state.done}`;
}

/** The time, while it matters. */
function useNow(ticking: boolean): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    if (!ticking) return;
    setNow(Date.now());
    const timer = setInterval(() => setNow(Date.now()), 500);
    return () => clearInterval(timer);
  }, [ticking]);
  return now;
}

type Answer = Parameters<typeof partsOf>[0];
type WithBoxes = Omit<Drawn, "edges"> & { edges: (Drawn["edges"][number] & { box: View })[] };
interface Layouts {
  whole?: WithBoxes;
  folded?: WithBoxes;
}

const layouts = new WeakMap<object, Layouts>();

function useLayout(answer: Answer | undefined, unfolded: boolean): {
  drawn: WithBoxes | undefined;
  /** How many nodes the graph has, and how many are to be drawn. */
  count: number;
  size: number;
  isFolded: boolean;
} {
  const [, changed] = useReducer((count: number) => count + 1, 0);
  const whole = useMemo(() => (answer === undefined ? undefined : partsOf(answer)), [answer]);
  const count = whole?.nodes.length ?? 0;
  const parts = useMemo(() => {
    if (whole === undefined || unfolded || count <= FOLDED_BEYOND) return whole;
    const outer = folded(whole.nodes, whole.edges);
    return outer.nodes.length < count ? outer : whole;
  }, [whole, unfolded, count]);
  const kind = parts === whole ? "whole" : "folded";
  useEffect(() => {
    if (answer === undefined || parts === undefined || layouts.get(answer)?.[kind] !== undefined || parts.nodes.length > MOST_DRAWN) return undefined;
    const done = (result: Drawn) => {
      layouts.set(answer, { ...layouts.get(answer), [kind]: { ...result, edges: result.edges.map((edge) => ({ ...edge, box: boxOf(edge.path) })) } });
      changed();
    };
    if (!isQuick(parts.nodes, parts.edges)) return inWorker(parts.nodes, parts.edges, done);
    done(layout(parts.nodes, parts.edges));
    return undefined;
  }, [answer, parts, kind]);
  return { drawn: answer && layouts.get(answer)?.[kind], count, size: parts?.nodes.length ?? 0, isFolded: kind === "folded" };
}

/** The frame of a path, whose numbers are places in turn. */
function boxOf(path: string): View {
  const numbers = (path.match(/-?[\d.]+/g) ?? []).map(Number);
  const xs = numbers.filter((_, index) => index % 2 === 0);
  const ys = numbers.filter((_, index) => index % 2 === 1);
  const [x, y] = [Math.min(...xs), Math.min(...ys)];
  return { x: x - 1, y: y - 1, width: Math.max(...xs) - x + 2, height: Math.max(...ys) - y + 2 };
}

function inWorker(nodes: GraphNode[], edges: GraphEdge[], done: (drawn: Drawn) => void): () => void {
  const worker = new Worker(new URL("./layout.worker.ts", import.meta.url), { type: "module" });
  worker.onmessage = ({ data }: MessageEvent<Drawn>) => {
    done(data);
    worker.terminate();
  };
  worker.postMessage({ nodes, edges });
  return () => worker.terminate();
}
