import { type GraphEdge, type GraphNode, layout } from "./layout";

onmessage = ({ data }: MessageEvent<{ nodes: GraphNode[]; edges: GraphEdge[] }>) => postMessage(layout(data.nodes, data.edges));
