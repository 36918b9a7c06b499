/**
 * The part of Markdown that messages use, as a tree: paragraphs, headings, lists, quotations, tables, code, emphasis, links. Pure.
 * HTML is text like any other, so nothing in a message can become an element or a script.
 */

export type Inline =
  | string
  | { kind: "code"; text: string }
  | { kind: "strong" | "em" | "del"; parts: Inline[] }
  | { kind: "link"; href: string; parts: Inline[] };

export type Block =
  | { kind: "text"; parts: Inline[] }
  | { kind: "heading"; level: number; parts: Inline[] }
  | { kind: "code"; language: string; text: string }
  | { kind: "quote"; blocks: Block[] }
  | { kind: "list"; start: number | undefined; items: Block[][] }
  | { kind: "table"; rows: Inline[][][] }
  | { kind: "rule" };

const FENCE = /^ {0,3}(```+|~~~+)\s*([\w+#.-]*)/;
const HEADING = /^(#{1,6})\s+(.+?)\s*#*$/;
const RULE = /^ {0,3}(?:(?:-\s*){3,}|(?:\*\s*){3,}|(?:_\s*){3,})$/;
const ITEM = /^(\s*)(?:[-*+]|(\d{1,9})[.)])\s+(?=\S)/;
const DIVIDER = /^\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*$/;
const DEEPEST = 8;

/** The source of each block, so that a text that grows is parsed anew only at its end. */
export function split(text: string): string[] {
  const sources: string[] = [];
  let lines: string[] = [];
  let fence = "";
  const flush = () => {
    if (lines.some((line) => line.trim())) sources.push(lines.join("\n"));
    lines = [];
  };
  for (const line of text.split("\n")) {
    const mark = FENCE.exec(line)?.[1];
    if (fence) {
      lines.push(line);
      if (mark?.startsWith(fence) && line.trim() === mark) {
        fence = "";
        flush();
      }
    } else if (mark !== undefined && lines.every((before) => !ITEM.test(before))) {
      flush();
      fence = mark;
      lines.push(line);
    } else if (!line.trim() && !isOpenList(lines)) flush();
    else if (isOpenList(lines) && lines.at(-1)?.trim() === "" && line.trim() && !ITEM.test(line) && !/^\s/.test(line)) {
      flush();
      lines.push(line);
    } else lines.push(line);
  }
  flush();
  return sources;
}

/** A list goes on behind an empty line when another item or an indented line follows. */
function isOpenList(lines: string[]): boolean {
  return lines[0] !== undefined && ITEM.test(lines[0]);
}

export function parse(source: string, depth = 0): Block[] {
  const blocks: Block[] = [];
  const lines = source.replace(/^\n+|\s+$/g, "").split("\n");
  let words: string[] = [];
  const flush = () => {
    const text = words.join("\n").trim();
    if (text) blocks.push({ kind: "text", parts: inline(text) });
    words = [];
  };
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at] ?? "";
    const fence = FENCE.exec(line);
    const heading = HEADING.exec(line);
    if (fence) {
      flush();
      const mark = fence[1] ?? "```";
      const end = lines.findIndex((other, index) => index > at && other.trim().startsWith(mark) && other.trim() === other.trim()[0]?.repeat(other.trim().length));
      const body = lines.slice(at + 1, end < 0 ? undefined : end);
      const indent = /^ */.exec(line)?.[0].length ?? 0;
      blocks.push({ kind: "code", language: fence[2] ?? "", text: body.map((one) => one.slice(Math.min(indent, one.length - one.trimStart().length))).join("\n") });
      at = end < 0 ? lines.length : end;
    } else if (heading) {
      flush();
      blocks.push({ kind: "heading", level: heading[1]?.length ?? 1, parts: inline(heading[2] ?? "") });
    } else if (RULE.test(line)) {
      flush();
      blocks.push({ kind: "rule" });
    } else if (/^\s*>/.test(line) && depth < DEEPEST) {
      flush();
      const quoted = lines.slice(at).findIndex((one) => !/^\s*>/.test(one));
      const end = quoted < 0 ? lines.length : at + quoted;
      blocks.push({ kind: "quote", blocks: parse(lines.slice(at, end).map((one) => one.replace(/^\s*> ?/, "")).join("\n"), depth + 1) });
      at = end - 1;
    } else if (ITEM.test(line) && depth < DEEPEST) {
      flush();
      const [list, end] = listAt(lines, at, depth);
      blocks.push(list);
      at = end - 1;
    } else if (line.includes("|") && DIVIDER.test(lines[at + 1] ?? "") && (lines[at + 1] ?? "").includes("-")) {
      flush();
      const length = lines.slice(at).findIndex((one) => !one.includes("|"));
      const end = length < 0 ? lines.length : at + length;
      blocks.push({ kind: "table", rows: [line, ...lines.slice(at + 2, end)].map(cellsOf) });
      at = end - 1;
    } else if (!line.trim()) flush();
    else words.push(line);
  }
  flush();
  return blocks;
}

function listAt(lines: string[], from: number, depth: number): [Block, number] {
  const first = ITEM.exec(lines[from] ?? "");
  const indent = first?.[1]?.length ?? 0;
  const numbered = first?.[2] !== undefined;
  const items: string[][] = [];
  let at = from;
  for (; at < lines.length; at++) {
    const line = lines[at] ?? "";
    const mark = ITEM.exec(line);
    const ours = mark !== null && (mark[1]?.length ?? 0) <= indent + 1;
    if (ours && (mark[2] !== undefined) !== numbered) break;
    if (ours) items.push([line.slice(mark[0].length)]);
    else if (line.trim() && !/^\s/.test(line) && lines[at - 1]?.trim() === "") break;
    else items.at(-1)?.push(line);
  }
  const blocks = items.map(([head = "", ...rest]) => {
    const inner = Math.min(...rest.filter((line) => line.trim()).map((line) => line.length - line.trimStart().length), Infinity);
    return parse([head, ...rest.map((line) => line.slice(Number.isFinite(inner) ? inner : 0))].join("\n"), depth + 1);
  });
  return [{ kind: "list", start: numbered ? Number(first?.[2]) : undefined, items: blocks }, at];
}

function cellsOf(line: string): Inline[][] {
  return line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => inline(cell.trim()));
}

// Each part has a longest length, so that a sign that is never closed costs the same wherever it stands.
const INLINE = new RegExp(
  [
    /(`{1,9})(?!`)([\s\S]{0,2000}?[^`])\1(?!`)/,
    /\*\*(?=\S)([\s\S]{0,4000}?\S)\*\*(?!\*)/,
    /(?<![\w*])[*_](?=[^\s*_])([^*_\n]{0,1000}[^\s*_])[*_](?![\w*])/,
    /~~(?=\S)([\s\S]{0,2000}?\S)~~/,
    /!?\[([^\]\n]{0,300})\]\(\s{0,9}<?([^\s)>]{1,2000})>?(?:\s{1,9}"[^"]{0,300}")?\s{0,9}\)/,
    /(https?:\/\/[^\s<>"'`)\]]{0,2000}[^\s<>"'`)\].,;:!?])/,
  ]
    .map(({ source }) => source)
    .join("|"),
);

export function inline(text: string, depth = 0): Inline[] {
  const parts: Inline[] = [];
  let rest = text;
  for (let found = depth > DEEPEST ? null : INLINE.exec(rest); found; found = INLINE.exec(rest)) {
    if (found.index > 0) parts.push(rest.slice(0, found.index));
    const [whole, , code, strong, em, del, label, target, bare] = found;
    if (code !== undefined) parts.push({ kind: "code", text: code.replace(/^ (.+) $/, "$1") });
    else if (strong !== undefined) parts.push({ kind: "strong", parts: inline(strong, depth + 1) });
    else if (em !== undefined) parts.push({ kind: "em", parts: inline(em, depth + 1) });
    else if (del !== undefined) parts.push({ kind: "del", parts: inline(del, depth + 1) });
    else {
      const href = safe(target ?? bare ?? "");
      const shown = bare ?? (label || target || "");
      parts.push(href === undefined ? whole : { kind: "link", href, parts: bare === undefined ? inline(shown, DEEPEST + 1) : [shown] });
    }
    rest = rest.slice(found.index + whole.length);
  }
  if (rest) parts.push(rest);
  return parts;
}

/** An address that a person may go to: of the web or of mail. Anything else (`javascript:`, `data:`, an address within Studio) is text. */
function safe(target: string): string | undefined {
  return /^(?:https?:\/\/|mailto:)/i.test(target) ? target : undefined;
}
