/** Light, dark, or as the system says. The choice is kept in this browser. */

export type Theme = "auto" | "light" | "dark";

const KEY = "threadloom-studio-theme";
const NEXT: Record<Theme, Theme> = { auto: "light", light: "dark", dark: "auto" };

export function themeNow(): Theme {
  const kept = localStorage.getItem(KEY);
  return kept === "light" || kept === "dark" ? kept : "auto";
}

export function applyTheme(): void {
  const theme = themeNow();
  if (theme === "auto") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = theme;
}

/** Changes to the next theme and returns it. */
export function nextTheme(): Theme {
  const next = NEXT[themeNow()];
  if (next === "auto") localStorage.removeItem(KEY);
  else localStorage.setItem(KEY, next);
  applyTheme();
  return next;
}
