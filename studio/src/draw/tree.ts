/** Where the dots and lines of a tree of copies are: one row a thread, below the one that it was copied from. Pure. */

export interface Descendant {
  thread_id: string | null;
  depth: number;
  checkpoint_id: string | null;
}

export interface TreeRow {
  lane: number;
  /** The columns of ancestors whose line goes on to later rows. */
  through: number[];
  /** Whether the line of the parent goes on below the place where this one leaves it. */
  parentGoesOn: boolean;
  /** Whether it leaves at another checkpoint than the copy above it did. */
  leavesHere: boolean;
  below: boolean;
  /** Whether the thread in question descends from it, or is it. */
  hot: boolean;
}

/**
 * @param threads in preorder: each one follows the one that it descends from.
 * @param current the thread in question.
 * @param most how many columns there are at most; deeper threads share the last one.
 */
export function treeOf(threads: readonly Descendant[], current: string, most = 12): TreeRow[] {
  const drawn = (depth: number) => Math.min(depth, most - 1);
  const hot = new Set<number>();
  let wanted: number | undefined;
  for (let index = threads.length - 1; index >= 0; index--) {
    const one = threads[index]!;
    if (one.thread_id === current || (wanted !== undefined && one.depth === wanted)) {
      hot.add(index);
      wanted = one.depth - 1;
    }
  }
  // From the end: which columns lead to a row further down.
  const goesOn: boolean[] = [];
  const rows: TreeRow[] = [];
  for (let index = threads.length - 1; index >= 0; index--) {
    const { depth } = threads[index]!;
    const through: number[] = [];
    for (let column = 0; column < depth - 1; column++) if (goesOn[column]) through.push(drawn(column));
    rows.push({
      lane: drawn(depth),
      through: [...new Set(through)].filter((lane) => lane < drawn(depth) - 1 || depth < most),
      parentGoesOn: depth > 0 && goesOn[depth - 1] === true,
      leavesHere: true,
      below: goesOn[depth] === true,
      hot: hot.has(index),
    });
    goesOn.length = depth;
    if (depth > 0) goesOn[depth - 1] = true;
  }
  rows.reverse();
  /** The checkpoint at which the last copy of each depth left. */
  const left: (string | null)[] = [];
  threads.forEach((one, index) => {
    rows[index]!.leavesHere = one.depth > 0 && (left.length <= one.depth || left[one.depth] !== one.checkpoint_id);
    left.length = Math.min(left.length, one.depth + 1);
    left[one.depth] = one.checkpoint_id;
  });
  return rows;
}
