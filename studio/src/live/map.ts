/** The map of a thread's turns, read for the messages that are shown. Pure. */

import type { Branches, Turn } from "../api/extras";

/**
 * The places of messages in the map, by their ids, along the branch that is shown.
 *
 * @param checkpoint the checkpoint that is shown, null for the newest. It tells versions of a message with one id apart.
 */
export function placesOf(turns: readonly Turn[], shown: readonly { id?: string | null }[], checkpoint: string | null): Map<string, number> {
  const branch = new Set<number | null>();
  for (let at: number | null = checkpoint === null ? -1 : turns.findLastIndex((turn) => turn.after === checkpoint); at !== null && at >= 0; at = turns[at]?.parent ?? null) branch.add(at);
  const isShown = (index: number) => (checkpoint === null ? turns[index]?.active === true : branch.has(index));
  const byId = new Map<string, number[]>();
  turns.forEach((turn, index) => {
    if (turn.message_id === null) return;
    const known = byId.get(turn.message_id);
    if (known === undefined) byId.set(turn.message_id, [index]);
    else known.push(index);
  });
  const places = new Map<string, number>();
  let before: number | null = null;
  for (const { id } of shown) {
    const found: number[] = (id && byId.get(id)) || [];
    const place: number | undefined = found.find(isShown) ?? found.find((index) => turns[index]?.parent === before) ?? found.at(-1);
    if (!id || place === undefined) continue;
    places.set(id, place);
    before = place;
  }
  return places;
}

/**
 * The checkpoint that shows a turn's branch to its end: after the turn the branch goes on with what is active, else with what is
 * newest.
 *
 * @returns null if that is the newest state.
 */
export function tipOf(turns: readonly Turn[], place: number): string | null {
  const children = new Map<number, number[]>();
  turns.forEach(({ parent }, index) => {
    if (parent === null) return;
    const known = children.get(parent);
    if (known === undefined) children.set(parent, [index]);
    else known.push(index);
  });
  let at = place;
  for (;;) {
    const next: number[] = children.get(at) ?? [];
    const found: number | undefined = next.find((index) => turns[index]?.active) ?? next.at(-1);
    if (found === undefined) break;
    at = found;
  }
  const turn = turns[at];
  return turn === undefined || turn.active ? null : turn.after;
}

/** The last of the shown turns that a copy took along, -1 for none. Ids of checkpoints grow with time. */
export function originOf(map: Branches, places: readonly number[], checkpointId: string | null): number {
  if (checkpointId === null) return -1;
  let found = -1;
  for (const place of places) if ((map.turns[place]?.after ?? "~") <= checkpointId) found = place;
  return found;
}
