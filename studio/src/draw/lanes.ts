/** Where the dots and lines of a history are, as in a picture of commits: one row a checkpoint, the newest first. Pure. */

export interface Point {
  id: string;
  parent: string | null;
}

export interface LaneRow {
  id: string;
  /** The column of the dot. */
  lane: number;
  /** The columns whose line comes from above and ends in the dot. */
  above: number[];
  /** The columns whose line passes by. */
  through: number[];
  /** Whether a line leaves the dot downwards. */
  below: boolean;
}

/**
 * @param points each one before its parent. A parent that is not among them is expected below.
 * @param most how many columns there are at most; further branches share the last one.
 */
export function lanesOf(points: readonly Point[], most = 8): LaneRow[] {
  /** For each column, the id that its line leads to. */
  const open: (string | null)[] = [];
  return points.map(({ id, parent }) => {
    const above: number[] = [];
    open.forEach((expected, lane) => expected === id && above.push(lane));
    let lane = above[0] ?? open.indexOf(null);
    if (lane < 0) lane = open.length;
    for (const one of above) open[one] = null;
    const through = open.flatMap((expected, one) => (expected === null || one === lane ? [] : [one]));
    open[lane] = parent;
    while (open.length > 0 && open.at(-1) === null) open.pop();
    const drawn = (one: number) => Math.min(one, most - 1);
    return { id, lane: drawn(lane), above: unique(above.map(drawn)), through: unique(through.map(drawn)), below: parent !== null };
  });
}

/** How many columns the rows take. */
export function widthOf(rows: readonly LaneRow[]): number {
  return rows.reduce((most, row) => Math.max(most, row.lane + 1, ...row.through.map((lane) => lane + 1), ...row.above.map((lane) => lane + 1)), 1);
}

function unique(lanes: number[]): number[] {
  return [...new Set(lanes)];
}
