/** Builds Studio into the Python package, with a compressed copy of each file; or serves it while it is being changed. */

import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { type Plugin, defineConfig } from "vite";

const dist = join(import.meta.dirname, "../src/threadloom/studio/dist");

function compressed(): Plugin {
  return {
    name: "compressed",
    apply: "build",
    closeBundle() {
      for (const entry of readdirSync(dist, { recursive: true, withFileTypes: true })) {
        const file = join(entry.parentPath, entry.name);
        if (entry.isFile()) writeFileSync(`${file}.gz`, gzipSync(readFileSync(file), { level: 9 }));
      }
    },
  };
}

export default defineConfig(({ command }) => ({
  // Relative, so that the page works below any prefix of a proxy.
  base: command === "serve" ? "/studio/" : "./",
  build: {
    outDir: dist,
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: "es2022",
    chunkSizeWarningLimit: 700,
  },
  resolve: {
    alias: { "@langchain/core/messages": join(import.meta.dirname, "src/api/core-messages.ts") },
  },
  server: {
    proxy: { "^/(?!studio/)": process.env.THREADLOOM_URL ?? "http://127.0.0.1:2024" },
  },
  esbuild: { jsx: "automatic" },
  logLevel: command === "build" ? "error" : "info",
  plugins: [compressed()],
  worker: { format: "es" },
}));
