/** The picture of a graph, with what its nodes are doing. */

import { useEffect, useState } from "react";
import { client } from "../api/client";
import { useQuery } from "../api/query";
import type { NodeState } from "../live/reducer";
import { span } from "../parts/format";
import { Failure } from "../parts/notices";
import { type Drawn, type GraphEdge, type GraphNode, IN_WORKER, layout, partsOf } from "./layout";

interface Props {
  assistantId: string;
  states: ReadonlyMap<string, NodeState>;
  picked: string | null;
  onPick: (node: string) => void;
}

export function GraphPicture({ assistantId, states, picked, onPick }: Props) {
  const graph = useQuery(`graph ${assistantId}`, () => client.assistants.getGraph(assistantId, { xray: true }));
  const drawn = useLayout(graph.data as Parameters<typeof partsOf>[0] | undefined);
  const now = useNow([...states.values()].some((state) => state.running > 0));
  if (graph.error !== undefined) return <Failure error={graph.error} what="The graph cannot be drawn" retry={graph.reload} />;
  if (drawn === undefined) return <div className="bone" style={{ width: 120, margin: "24px auto" }} role="status" aria-label="Loading" />;

  const running = drawn.nodes.filter((node) => (states.get(node.id)?.running ?? 0) > 0).map((node) => node.id);
  const passed = (node: string) => {
    const state = states.get(node);
    return node === "__start__" ? states.size > 0 : state !== undefined && state.done > 0;
  };
  return (
    <svg
      className="pic"
      viewBox={`0 0 ${drawn.width} ${drawn.height}`}
      width={drawn.width}
      role="group"
      aria-label={running.length > 0 ? `Graph, running: ${running.join(", ")}` : "Graph"}
      style={{ margin: "0 auto" }}
    >
      {drawn.edges.map((edge, index) => {
        const hot = passed(edge.source) && (passed(edge.target) || running.includes(edge.target));
        return <path key={index} className={`edge ${edge.conditional ? "maybe" : ""} ${hot ? "hot" : ""}`} d={edge.path} />;
      })}
      {drawn.nodes.map((node) => {
        const state = states.get(node.id);
        return node.kind === "node" ? (
          <g
            key={node.id}
            role="button"
            tabIndex={0}
            aria-pressed={picked === node.id}
            aria-label={`${node.label}${state === undefined ? "" : `, ${words(state, now)}`}`}
            style={{ cursor: "pointer" }}
            onClick={() => onPick(node.id)}
            onKeyDown={(event) => (event.key === "Enter" || event.key === " ") && onPick(node.id)}
          >
            <rect className={`node ${look(state)}`} x={node.x} y={node.y} width={node.width} height={node.height} rx={6} />
            <text x={node.x + 12} y={node.y + node.height / 2 + 4} textDecoration={picked === node.id ? "underline" : undefined}>
              {`${node.label} `}
            </text>
            <text className="t2" x={node.x + node.width - 10} y={node.y + node.height / 2 + 4} textAnchor="end">
              {state === undefined ? "" : words(state, now)}
            </text>
          </g>
        ) : (
          <g key={node.id}>
            <rect className="node" x={node.x} y={node.y} width={node.width} height={node.height} rx={node.height / 2} />
            <text className="t2" x={node.x + node.width / 2} y={node.y + node.height / 2 + 4} textAnchor="middle">
              {node.label}
            </text>
          </g>
        );
      })}
    </svg>
  );
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

const layouts = new WeakMap<object, Drawn>();

function useLayout(answer: Parameters<typeof partsOf>[0] | undefined): Drawn | undefined {
  const [drawn, setDrawn] = useState(answer && layouts.get(answer));
  useEffect(() => {
    if (answer === undefined) return undefined;
    const known = layouts.get(answer);
    if (known !== undefined) {
      setDrawn(known);
      return undefined;
    }
    const done = (result: Drawn) => {
      layouts.set(answer, result);
      setDrawn(result);
    };
    const { nodes, edges } = partsOf(answer);
    if (nodes.length <= IN_WORKER) done(layout(nodes, edges));
    else return inWorker(nodes, edges, done);
    return undefined;
  }, [answer]);
  return drawn;
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
