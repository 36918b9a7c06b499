/** Images and files of a message: chosen, dropped or pasted, and sent as content blocks. */

import { useState } from "react";
import { messageOf } from "../../api/client";

export interface Attachment {
  name: string;
  type: string;
  /** The whole file as a `data:` address. */
  url: string;
}

/** A block of a message's content, in forms that models of all makers take through LangChain. */
export function blockOf({ name, type, url }: Attachment): Record<string, unknown> {
  if (type.startsWith("image/")) return { type: "image_url", image_url: { url } };
  const kind = type.startsWith("audio/") ? "audio" : type.startsWith("video/") ? "video" : "file";
  return { type: kind, source_type: "base64", mime_type: type, data: url.slice(url.indexOf(",") + 1), filename: name, metadata: { filename: name } };
}

/** A message's content: its text alone, or blocks. */
export function contentOf(text: string, attachments: Attachment[]): unknown {
  if (attachments.length === 0) return text;
  return [...(text.trim() ? [{ type: "text", text }] : []), ...attachments.map(blockOf)];
}

export function useAttachments() {
  const [attachments, set] = useState<Attachment[]>([]);
  const [problem, setProblem] = useState("");
  const add = async (files: Iterable<File>) => {
    setProblem("");
    try {
      const read = await Promise.all([...files].map(readFile));
      set((before) => [...before, ...read]);
    } catch (error) {
      setProblem(messageOf(error));
    }
  };
  return { attachments, problem, add, remove: (one: Attachment) => set((before) => before.filter((other) => other !== one)), clear: () => set([]) };
}

export function Attachments({ attachments, onRemove }: { attachments: Attachment[]; onRemove: (one: Attachment) => void }) {
  if (attachments.length === 0) return null;
  return (
    <div className="files" role="list" aria-label="Attachments">
      {attachments.map((one, index) => (
        <span className="file" role="listitem" key={index}>
          {one.type.startsWith("image/") && <img src={one.url} alt="" />}
          <span className="cut">{one.name}</span>
          <button type="button" className="btn quiet" aria-label={`Remove ${one.name}`} onClick={() => onRemove(one)}>
            ×
          </button>
        </span>
      ))}
    </div>
  );
}

function readFile(file: File): Promise<Attachment> {
  return new Promise((done, fail) => {
    const reader = new FileReader();
    reader.onload = () => done({ name: file.name || "image", type: file.type || "application/octet-stream", url: typed(String(reader.result), file.type) });
    reader.onerror = () => fail(new Error(`${file.name} cannot be read.`));
    reader.readAsDataURL(file);
  });
}

/** A file without a type is sent as bytes. */
function typed(url: string, type: string): string {
  return type ? url : `data:application/octet-stream;base64,${url.slice(url.indexOf(",") + 1)}`;
}
