import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./app";
import { applyTheme } from "./parts/theme";
import "./style.css";
import "./pages.css";

applyTheme();
const root = document.getElementById("studio");
if (root === null) throw new Error("the page has no element #studio");
createRoot(root).render(
  <StrictMode>
    <App />
  </StrictMode>,
);
