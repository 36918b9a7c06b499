/** `LoadExternalComponent` of `@langchain/langgraph-sdk/react-ui` shows a component of a bundle that the server made. */

import assert from "node:assert/strict";
import { JSDOM } from "jsdom";
import { apiUrl, run, test, until } from "./lib.js";

const dom = new JSDOM("<!doctype html><body></body>", {
  url: "http://page.example/",
  runScripts: "dangerously",
  resources: "usable",
});
const { document, sessionStorage, navigator } = dom.window;
for (const [name, value] of Object.entries({ window: dom.window, document, sessionStorage, navigator })) {
  Object.defineProperty(globalThis, name, { value, configurable: true });
}

const { createElement } = await import("react");
const { createRoot } = await import("react-dom/client");
const { Client } = await import("@langchain/langgraph-sdk");
const ui = await import("@langchain/langgraph-sdk/react-ui");

ui.experimental_loadShare("weather-words", { fine: (city) => `Fine in ${city}` });

/** What browsers do and jsdom does not: runs the scripts that came into a shadow tree, each once. */
function runScripts(place) {
  for (const script of place.firstElementChild?.shadowRoot?.querySelectorAll("script:not([data-ran])") ?? []) {
    const anew = document.createElement("script");
    for (const { name, value } of script.attributes) anew.setAttribute(name, value);
    document.head.appendChild(anew);
    script.dataset.ran = "yes";
  }
}

/** Shows a component in a page; gives the element that it is shown in. */
function shown(assistantId, name, props) {
  const place = document.body.appendChild(document.createElement("div"));
  const stream = { client: new Client({ apiUrl }), assistantId };
  const message = { type: "ui", id: "1", name, props };
  createRoot(place).render(createElement(ui.LoadExternalComponent, { stream, message, meta: { from: "meta" } }));
  return place;
}

function textIn(place) {
  runScripts(place);
  return place.firstElementChild?.shadowRoot?.querySelector("p")?.textContent;
}

test("a component is loaded, gets its props and context, and lives", async () => {
  const place = shown("my-agent", "weather", { city: "Bern" });
  await until(() => textIn(place) === "Fine in Bern 1 meta");
  const root = place.firstElementChild.shadowRoot;
  root.querySelector("p").dispatchEvent(new dom.window.MouseEvent("click", { bubbles: true, composed: true }));
  await until(() => textIn(place) === "Fine in Bern 2 meta");
  const styles = root.querySelector("link").href;
  assert.match(await (await fetch(styles.replace(/^\w+:/, "http:"))).text(), /rebeccapurple|#639/);
});

test("a component with an odd name is no way into the page", async () => {
  const place = shown("my-agent", "it's <odd>", {});
  await until(() => textIn(place) === "odd");
});

await run();
