/** Two builds of one page: `@langchain/react` with the SDK that it asks for, and with the newest, as an app may override it. */

import { defineConfig } from "vite";

export default defineConfig(({ mode }) => ({
  base: "./",
  resolve: mode === "newest-sdk" ? { dedupe: ["@langchain/langgraph-sdk"] } : {},
  build: { outDir: `dist/${mode}`, minify: false, chunkSizeWarningLimit: 4000 },
  esbuild: { jsx: "automatic" },
  logLevel: "error",
}));
