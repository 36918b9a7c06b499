import { beforeAll, expect, test, vi } from "vitest";

// The list reads its server's address and its token from the page.
beforeAll(() => {
  vi.stubGlobal("location", { href: "http://127.0.0.1/studio/#/", hash: "" });
  vi.stubGlobal("sessionStorage", { getItem: () => null });
});

test("a search text is words, and metadata with the types of JSON", async () => {
  const { parseSearch } = await import("../src/api/thread-list");
  expect(parseSearch("Refund owner=ann paid=true n=3 a=b=c x=")).toEqual({
    words: ["refund", "x="],
    metadata: { owner: "ann", paid: true, n: 3, a: "b=c" },
  });
});

test("a row matches when it has all words, wherever they are", async () => {
  const { matches, rowOf } = await import("../src/api/thread-list");
  const row = rowOf({ thread_id: "0001-abcdef", metadata: { graph_id: "support", owner: "Ann" }, extracted: { first: "Refund order 8812" } });
  expect(["refund 8812", "abcdef", "ann support", "refund lisbon"].map((text) => matches(row, text.split(" ")))).toEqual([true, true, true, false]);
});

test("features are those that the server announces", async () => {
  const { featuresOf } = await import("../src/api/extras");
  expect(featuresOf(undefined).branches).toBe(false);
  expect(featuresOf({ version: "1", flags: { select_forked_from: true }, features: { branches: true } })).toMatchObject({ forkedFrom: true, branches: true, lineage: false });
});
