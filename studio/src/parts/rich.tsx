/** The text of a message: Markdown as elements of ours. HTML in it stays text, and nothing is loaded: links are followed by hand. */

import { Fragment, type ReactNode, memo, useMemo } from "react";
import { type Block, type Inline, parse, split } from "./markdown";

export function Rich({ text }: { text: string }) {
  const sources = useMemo(() => split(text), [text]);
  return sources.map((source, index) => <Source key={index} source={source} />);
}

const Source = memo(function Source({ source }: { source: string }) {
  return <Blocks blocks={parse(source)} />;
});

function Blocks({ blocks }: { blocks: Block[] }) {
  return blocks.map((block, index) => <Fragment key={index}>{blockOf(block)}</Fragment>);
}

function blockOf(block: Block): ReactNode {
  switch (block.kind) {
    case "code":
      return (
        <pre className="code" tabIndex={0} aria-label={block.language ? `Code, ${block.language}` : "Code"}>
          {block.text}
        </pre>
      );
    case "heading":
      return (
        <p className="heading" role="heading" aria-level={Math.min(6, block.level + 1)}>
          {inlineOf(block.parts)}
        </p>
      );
    case "quote":
      return (
        <blockquote>
          <Blocks blocks={block.blocks} />
        </blockquote>
      );
    case "list": {
      const items = block.items.map((item, index) => (
        <li key={index}>
          <Blocks blocks={item} />
        </li>
      ));
      return block.start === undefined ? <ul>{items}</ul> : <ol start={block.start}>{items}</ol>;
    }
    case "table": {
      const [head = [], ...rows] = block.rows;
      return (
        <div className="scrolled" tabIndex={0} role="region" aria-label="Table">
          <table>
            <thead>
              <tr>{head.map((cell, index) => <th key={index}>{inlineOf(cell)}</th>)}</tr>
            </thead>
            <tbody>
              {rows.map((row, index) => (
                <tr key={index}>{row.map((cell, place) => <td key={place}>{inlineOf(cell)}</td>)}</tr>
              ))}
            </tbody>
          </table>
        </div>
      );
    }
    case "rule":
      return <hr />;
    case "text":
      return <p>{inlineOf(block.parts)}</p>;
  }
}

function inlineOf(parts: Inline[]): ReactNode {
  return parts.map((part, index) => {
    if (typeof part === "string") return <Fragment key={index}>{part}</Fragment>;
    if (part.kind === "code") return <code key={index}>{part.text}</code>;
    const inner = inlineOf(part.parts);
    if (part.kind === "link")
      return (
        <a key={index} href={part.href} target="_blank" rel="noopener noreferrer">
          {inner}
        </a>
      );
    const Tag = part.kind;
    return <Tag key={index}>{inner}</Tag>;
  });
}
