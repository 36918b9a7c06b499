/**
 * A layout whose cost grows with the nodes and edges of a graph, for graphs that are too large for dagre: layers by the longest path,
 * order within a layer by the neighbours' places, and edges beyond the next layer in lanes beside the picture. Pure.
 */

export interface Link {
  source: string;
  target: string;
}

export interface Box {
  id: string;
  width: number;
  height: number;
}

export interface Placed {
  width: number;
  height: number;
  /** The left upper corner of each box, in the order of the boxes. */
  corners: { x: number; y: number }[];
  /** The path of each link, in the order of the links. */
  paths: string[];
}

const MARGIN = 8;
const GAP_X = 20;
const GAP_Y = 36;
/** Boxes side by side in one row; a layer with more is broken into several rows. */
const PER_ROW = 12;
const SWEEPS = 4;
const LANES = 12;
const LANE = 8;

/** The layer of each node: one more than the deepest of those before it. Links that close a circle are passed over. */
export function layersOf(ids: string[], links: Link[]): Map<string, number> {
  const after = new Map<string, string[]>(ids.map((id) => [id, []]));
  const entered = new Set<string>();
  for (const { source, target } of links) {
    if (source === target || !after.has(target)) continue;
    after.get(source)?.push(target);
    entered.add(target);
  }
  const ends: string[] = [];
  const forward = new Map<string, string[]>(ids.map((id) => [id, []]));
  const seen = new Set<string>();
  const open = new Set<string>();
  // Nodes without a link to them first, so that a circle is cut at its end and not in its middle. A stack of our own: paths may be long.
  for (const root of [...ids.filter((id) => !entered.has(id)), ...ids]) {
    if (seen.has(root)) continue;
    const stack = [{ id: root, next: 0 }];
    seen.add(root);
    open.add(root);
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const target = after.get(top.id)?.[top.next++];
      if (target === undefined) {
        ends.push(top.id);
        open.delete(top.id);
        stack.pop();
      } else if (!open.has(target)) {
        forward.get(top.id)?.push(target);
        if (!seen.has(target)) {
          seen.add(target);
          open.add(target);
          stack.push({ id: target, next: 0 });
        }
      }
    }
  }
  const layers = new Map<string, number>(ids.map((id) => [id, 0]));
  for (const id of ends.reverse())
    for (const target of forward.get(id) ?? []) layers.set(target, Math.max(layers.get(target) ?? 0, (layers.get(id) ?? 0) + 1));
  return layers;
}

/** How many layers all links pass, taken together. dagre makes a node of its own for each. */
export function lengthOf(layers: ReadonlyMap<string, number>, links: Link[]): number {
  return links.reduce((sum, { source, target }) => sum + Math.abs((layers.get(target) ?? 0) - (layers.get(source) ?? 0)), 0);
}

export function layered(boxes: Box[], links: Link[]): Placed {
  const layers = layersOf(boxes.map(({ id }) => id), links);
  const byId = new Map(boxes.map((box) => [box.id, box]));
  const rows = ordered(layers, links).flatMap(broken);
  const corners = new Map<string, { x: number; y: number }>();
  const rowOf = new Map<string, number>();
  const widths = rows.map((row) => row.reduce((sum, id) => sum + (byId.get(id)?.width ?? 0) + GAP_X, -GAP_X));
  const widest = Math.max(0, ...widths);
  let y = MARGIN;
  rows.forEach((row, index) => {
    let x = MARGIN + (widest - (widths[index] ?? 0)) / 2;
    let tallest = 0;
    for (const id of row) {
      const { width = 0, height = 0 } = byId.get(id) ?? {};
      corners.set(id, { x, y });
      rowOf.set(id, index);
      x += width + GAP_X;
      tallest = Math.max(tallest, height);
    }
    y += tallest + GAP_Y;
  });

  const lanes = new Lanes();
  let rightmost = MARGIN + widest;
  const paths = links.map(({ source, target }) => {
    const [from, to] = [byId.get(source), byId.get(target)];
    const [a, b] = [corners.get(source), corners.get(target)];
    if (from === undefined || to === undefined || a === undefined || b === undefined) return "";
    const [rowA, rowB] = [rowOf.get(source) ?? 0, rowOf.get(target) ?? 0];
    if (rowB === rowA + 1 || (layers.get(target) ?? 0) === (layers.get(source) ?? 0) + 1) {
      const [x1, y1, x2, y2] = [a.x + from.width / 2, a.y + from.height, b.x + to.width / 2, b.y];
      const middle = (y1 + y2) / 2;
      return `M${round(x1)} ${round(y1)}C${round(x1)} ${round(middle)} ${round(x2)} ${round(middle)} ${round(x2)} ${round(y2)}`;
    }
    const lane = MARGIN + widest + LANE * (1 + lanes.free(Math.min(rowA, rowB), Math.max(rowA, rowB)));
    rightmost = Math.max(rightmost, lane);
    const [x1, y1, x2, y2] = [a.x + from.width, a.y + from.height / 2, b.x + to.width, b.y + to.height / 2];
    const turn = y2 >= y1 ? 12 : -12;
    return `M${round(x1)} ${round(y1)}Q${lane} ${round(y1)} ${lane} ${round(y1 + turn)}L${lane} ${round(y2 - turn)}Q${lane} ${round(y2)} ${round(x2)} ${round(y2)}`;
  });
  return {
    width: Math.ceil(rightmost + MARGIN),
    height: Math.ceil(Math.max(y - GAP_Y, MARGIN) + MARGIN),
    corners: boxes.map(({ id }) => { const { x = 0, y = 0 } = corners.get(id) ?? {}; return { x: round(x), y: round(y) }; }),
    paths,
  };
}

/** The nodes of each layer, in an order in which few links cross: each node near the mean of its neighbours in the layer beside. */
function ordered(layers: ReadonlyMap<string, number>, links: Link[]): string[][] {
  const rows: string[][] = [];
  for (const [id, layer] of layers) (rows[layer] ??= []).push(id);
  const up = new Map<string, string[]>();
  const down = new Map<string, string[]>();
  for (const { source, target } of links) {
    if ((layers.get(target) ?? 0) !== (layers.get(source) ?? 0) + 1) continue;
    up.set(target, [...(up.get(target) ?? []), source]);
    down.set(source, [...(down.get(source) ?? []), target]);
  }
  const place = new Map<string, number>();
  const note = (row: string[]) => row.forEach((id, index) => place.set(id, index - (row.length - 1) / 2));
  rows.forEach(note);
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    const downwards = sweep % 2 === 0;
    for (const row of downwards ? rows : rows.toReversed()) {
      const mean = new Map(row.map((id) => [id, meanOf((downwards ? up : down).get(id), place) ?? place.get(id) ?? 0]));
      row.sort((a, b) => (mean.get(a) ?? 0) - (mean.get(b) ?? 0));
      note(row);
    }
  }
  return rows;
}

function meanOf(ids: string[] | undefined, place: ReadonlyMap<string, number>): number | undefined {
  if (ids === undefined || ids.length === 0) return undefined;
  return ids.reduce((sum, id) => sum + (place.get(id) ?? 0), 0) / ids.length;
}

function broken(row: string[]): string[][] {
  const count = Math.ceil(row.length / PER_ROW);
  const each = Math.ceil(row.length / count);
  return Array.from({ length: count }, (_, index) => row.slice(index * each, (index + 1) * each));
}

/** Lanes beside the picture: links share one when they do not pass the same rows, or when there are too many. */
class Lanes {
  private readonly until: { from: number; to: number }[][] = [];

  free(from: number, to: number): number {
    for (let lane = 0; lane < LANES; lane++) {
      const taken = (this.until[lane] ??= []);
      if (taken.every((one) => one.to < from || to < one.from)) {
        taken.push({ from, to });
        return lane;
      }
    }
    return LANES - 1;
  }
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
