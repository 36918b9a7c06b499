import { expect, test } from "vitest";
import type { Branches, Turn } from "../src/api/extras";
import { changesOf, updateFor } from "../src/diff/values";
import { forkOf } from "../src/draw/fork";
import { lanesOf, widthOf } from "../src/draw/lanes";
import { treeOf } from "../src/draw/tree";
import { originOf, placesOf, tipOf } from "../src/live/map";

const turn = (message_id: string, parent: number | null, siblings: number[], active: boolean, after: string): Turn => ({
  message_id, parent, siblings, active, after, role: "human", before: null, run_id: null, created_at: null, copies: [],
});

/** q1 → a1 → q2 → a2, and q2 edited into q3 → a3, which is shown. */
const TURNS = [
  turn("q1", null, [0], true, "1"),
  turn("a1", 0, [1], true, "2"),
  turn("q2", 1, [2, 4], false, "3"),
  turn("a2", 2, [3], false, "4"),
  turn("q3", 1, [2, 4], true, "5"),
  turn("a3", 4, [5], true, "6"),
];

test("checkpoints of a line stay in one lane, and a branch has its own until it joins", () => {
  const line = lanesOf([{ id: "c", parent: "b" }, { id: "b", parent: "a" }, { id: "a", parent: null }]);
  expect(line.map(({ lane, above, below }) => [lane, above, below])).toEqual([[0, [], true], [0, [0], true], [0, [0], false]]);
  // d ← fork of b; c ← b
  const forked = lanesOf([{ id: "d", parent: "b" }, { id: "c", parent: "b" }, { id: "b", parent: "a" }, { id: "a", parent: null }]);
  expect(forked.map(({ lane, above, through }) => [lane, above, through])).toEqual([[0, [], []], [1, [], [0]], [0, [0, 1], []], [0, [0], []]]);
  expect(widthOf(forked)).toBe(2);
});

test("lanes are reused, and beyond the last one shared", () => {
  const points = [{ id: "x", parent: null }, { id: "y", parent: null }];
  expect(lanesOf(points).map((row) => row.lane)).toEqual([0, 0]);
  const many = [...Array.from({ length: 20 }, (_, at) => ({ id: `f${at}`, parent: "root" })), { id: "root", parent: null }];
  const rows = lanesOf(many, 8);
  expect(widthOf(rows)).toBe(8);
  expect(rows.at(-1)).toMatchObject({ lane: 0, above: [0, 1, 2, 3, 4, 5, 6, 7], below: false });
});

test("the tree of copies draws lines to later copies only, and marks the way to the thread", () => {
  const at = (thread_id: string, depth: number, checkpoint_id: string | null) => ({ thread_id, depth, checkpoint_id });
  const rows = treeOf([at("root", 0, null), at("a", 1, "c1"), at("a1", 2, "c5"), at("b", 1, "c1"), at("c", 1, "c2")], "a1");
  expect(rows.map((row) => [row.lane, row.through, row.parentGoesOn, row.below])).toEqual([
    [0, [], false, true],
    [1, [], true, true],
    [2, [0], false, false],
    [1, [], true, false],
    [1, [], false, false],
  ]);
  expect(rows.map((row) => row.hot)).toEqual([true, true, true, false, false]);
  expect(rows.map((row) => row.leavesHere)).toEqual([false, true, true, false, true]);
});

test("the fork of two histories has a dot for each checkpoint that only one has", () => {
  const picture = forkOf(2, 3, true);
  expect(["common", "a", "b"].map((side) => picture.dots.filter((dot) => dot.side === side).length)).toEqual([1, 2, 3]);
  expect(forkOf(100, 0, true).gaps).toMatchObject([{ count: 92 }]);
  expect(forkOf(0, 0, true).dots).toHaveLength(1);
  expect(forkOf(1, 1, false).dots.map((dot) => dot.side)).toEqual(["a", "b"]);
});

test("two values are compared place by place, lists of things with ids by id", () => {
  const before = { order: { id: 1, status: "open" }, items: [{ id: "x", n: 1 }, { id: "y", n: 2 }], same: [1, { a: 1 }], gone: 1 };
  const after = { order: { id: 1, status: "lost" }, items: [{ id: "y", n: 3 }, { id: "z", n: 4 }], same: [1, { a: 1 }], extra: null };
  expect(changesOf(before, after).map(({ path, kind }) => [path, kind])).toEqual([
    ["order.status", "changed"],
    ["items[0]", "removed"],
    ["items[0].n", "changed"],
    ["items[1]", "added"],
    ["gone", "removed"],
    ["extra", "added"],
  ]);
  expect(changesOf([1, 2], [1, 2, 3])).toEqual([{ path: "[2]", kind: "added", before: undefined, after: 3 }]);
  expect(changesOf({ a: null }, { a: null })).toEqual([]);
});

test("an update holds what changed, and removes messages by id", () => {
  const old = [{ id: "1", content: "a" }, { id: "2", content: "b" }];
  expect(updateFor({ messages: old, n: 1, m: 2 }, { messages: [{ id: "2", content: "B" }, { content: "new" }], n: 1, m: 3 })).toEqual({
    messages: [{ type: "remove", id: "1", content: "" }, { id: "2", content: "B" }, { content: "new" }],
    m: 3,
  });
});

test("shown messages are found in the map along their branch, and a sibling's branch to its end", () => {
  expect([...placesOf(TURNS, [{ id: "q1" }, { id: "a1" }, { id: "q3" }, { id: "new" }], null)]).toEqual([["q1", 0], ["a1", 1], ["q3", 4]]);
  expect(tipOf(TURNS, 2)).toBe("4");
  expect(tipOf(TURNS, 4)).toBeNull();
  const edited = [turn("q", null, [0, 2], false, "1"), turn("a", 0, [1], false, "2"), turn("q", null, [0, 2], true, "3"), turn("a", 2, [3], true, "4")];
  expect([...placesOf(edited, [{ id: "q" }, { id: "a" }], null).values()]).toEqual([2, 3]);
  expect([...placesOf(edited, [{ id: "q" }, { id: "a" }], "2").values()]).toEqual([0, 1]);
});

test("a copy's origin is the last turn that it took along", () => {
  const map = { turns: TURNS } as unknown as Branches;
  expect(originOf(map, [0, 1, 4, 5], "2x")).toBe(1);
  expect(originOf(map, [0, 1], "0")).toBe(-1);
});
