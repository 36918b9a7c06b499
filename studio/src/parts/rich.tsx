/** The text of a message: paragraphs as they are, and code between backticks. Never HTML of the message's. */

import { Fragment } from "react";

export function Rich({ text }: { text: string }) {
  return text.split(/(```[\s\S]*?(?:```|$))/).map((part, index) => {
    if (!part.startsWith("```")) return <Inline key={index} text={part.replace(/^\n|\n$/g, "")} />;
    const code = part.slice(3).replace(/```$/, "").replace(/^[\w+-]*\n/, "").replace(/\n$/, "");
    return (
      <pre key={index} className="code">
        {code}
      </pre>
    );
  });
}

function Inline({ text }: { text: string }) {
  return text.split(/(`[^`\n]+`)/).map((part, index) => (
    <Fragment key={index}>{/^`.+`$/.test(part) ? <code>{part.slice(1, -1)}</code> : part}</Fragment>
  ));
}
