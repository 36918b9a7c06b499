/** The picture of two histories from their common checkpoint: a stem and two lines of dots. Pure. */

export interface Dot {
  x: number;
  y: number;
  side: "common" | "a" | "b";
}

export interface ForkPicture {
  width: number;
  height: number;
  dots: Dot[];
  paths: { side: "common" | "a" | "b"; d: string }[];
  /** Where dots were left out, and how many. */
  gaps: { x: number; y: number; count: number }[];
}

const STEP = 18;
const MIDDLE = 30;
const SPREAD = 16;
const STEM = 44;
const MARGIN = 10;

/**
 * @param a how many checkpoints only the one history has.
 * @param b how many only the other one has.
 * @param common whether they have one in common.
 * @param most how many dots a side shows at most.
 */
export function forkOf(a: number, b: number, common: boolean, most = 8): ForkPicture {
  const dots: Dot[] = [];
  const paths: ForkPicture["paths"] = [];
  const gaps: ForkPicture["gaps"] = [];
  let width = MARGIN * 2;
  if (common) {
    paths.push({ side: "common", d: `M${MARGIN} ${MIDDLE}H${STEM}` });
    dots.push({ x: STEM, y: MIDDLE, side: "common" });
    width = STEM + MARGIN;
  }
  const line = (side: "a" | "b", count: number, y: number) => {
    if (count === 0) return;
    const begin = common ? STEM + 26 : MARGIN;
    const shown = Math.min(count, most);
    const half = count > most ? Math.ceil(shown / 2) : shown;
    const places: number[] = [];
    for (let index = 0; index < shown; index++) places.push(begin + index * STEP + (index >= half ? STEP : 0));
    const end = places.at(-1) ?? begin;
    if (count > most) gaps.push({ x: begin + half * STEP, y, count: count - most });
    paths.push({ side, d: `${common ? `M${STEM} ${MIDDLE}C${STEM + 14} ${MIDDLE} ${STEM + 10} ${y} ${begin} ${y}` : `M${begin} ${y}`}H${end}` });
    for (const x of places) dots.push({ x, y, side });
    width = Math.max(width, end + MARGIN);
  };
  line("a", a, MIDDLE - SPREAD);
  line("b", b, MIDDLE + SPREAD);
  return { width, height: MIDDLE * 2, dots, paths, gaps };
}
