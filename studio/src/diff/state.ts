/** Differences between two states. Pure. */

/** Whether two JSON values are the same. */
export function same(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const keys = Object.keys(a);
  if (keys.length !== Object.keys(b).length) return false;
  return keys.every((key) => Object.hasOwn(b, key) && same((a as Record<string, unknown>)[key], (b as Record<string, unknown>)[key]));
}

/** The keys of `after` whose values `before` has not, or has otherwise. */
export function changedKeys(before: unknown, after: unknown): Set<string> {
  if (typeof after !== "object" || after === null) return new Set();
  const base = (typeof before === "object" && before !== null ? before : {}) as Record<string, unknown>;
  return new Set(
    Object.entries(after)
      .filter(([key, value]) => !same(base[key], value))
      .map(([key]) => key),
  );
}
