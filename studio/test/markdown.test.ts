import { expect, test } from "vitest";
import { inline, parse, split } from "../src/parts/markdown";

test("a text is paragraphs, headings, lists, quotations, tables and code", () => {
  const text = "# Plan\n\nFirst **look**,\nthen *act*.\n\n1. one\n2. two\n   - deeper\n   - still\n\n> said\n> so\n\n| a | b |\n|---|---|\n| 1 | `2` |\n\n---\n\n```py\nx = 1\n\n# not a heading\n```\nend";
  const blocks = split(text).flatMap((source) => parse(source));
  expect(blocks.map(({ kind }) => kind)).toEqual(["heading", "text", "list", "quote", "table", "rule", "code", "text"]);
  expect(blocks[2]).toMatchObject({ start: 1, items: [[{ kind: "text", parts: ["one"] }], [{ kind: "text", parts: ["two"] }, { kind: "list", items: [{}, {}] }]] });
  expect(blocks[4]).toMatchObject({ rows: [[["a"], ["b"]], [["1"], [{ kind: "code", text: "2" }]]] });
  expect(blocks[6]).toEqual({ kind: "code", language: "py", text: "x = 1\n\n# not a heading" });
});

test("a text that grows keeps the blocks before its end", () => {
  const text = "one\n\n- a\n\n- b\n\ntwo\n\n```\ncode\n\nmore";
  for (let end = 1; end < text.length; end++) {
    const before = split(text.slice(0, end));
    expect(split(text).slice(0, Math.max(0, before.length - 2))).toEqual(before.slice(0, -2)); // the last two may become one list
  }
  expect(split(text)).toEqual(["one", "- a\n\n- b\n", "two", "```\ncode\n\nmore"]);
  expect(parse("```\nopen")).toEqual([{ kind: "code", language: "", text: "open" }]);
});

test("emphasis and code are found, and signs between words are not", () => {
  expect(inline("a **b *c*** `d*e*`")).toEqual(["a ", { kind: "strong", parts: ["b ", { kind: "em", parts: ["c"] }] }, " ", { kind: "code", text: "d*e*" }]);
  expect(inline("2 * 3 * 4, snake_case_name, __init__ and a*b*c")).toEqual(["2 * 3 * 4, snake_case_name, __init__ and a*b*c"]);
});

test("links lead to the web or to mail; anything else and all HTML stays text", () => {
  expect(inline("see [the **docs**](https://example.org/a?b=1) or https://example.org/x.")).toEqual([
    "see ",
    { kind: "link", href: "https://example.org/a?b=1", parts: ["the **docs**"] },
    " or ",
    { kind: "link", href: "https://example.org/x", parts: ["https://example.org/x"] },
    ".",
  ]);
  for (const text of ["[x](javascript:alert(1))", "[x](data:text/html,y)", "[x](#/threads)", "<img src=x onerror=alert(1)>", "<script>x</script>"])
    expect(inline(text).every((part) => typeof part === "string"), text).toBe(true);
});

test("long and strange texts take no time", () => {
  for (const text of ["*".repeat(50_000), "[".repeat(50_000), "> ".repeat(5_000), "`".repeat(20_001), "**a ".repeat(5_000), `- ${"- ".repeat(5_000)}x`, "| ".repeat(10_000), "_a".repeat(20_000), "https://".repeat(5_000)]) {
    const began = performance.now();
    split(text).forEach((source) => parse(source));
    expect(performance.now() - began, text.slice(0, 10)).toBeLessThan(1_000);
  }
});
