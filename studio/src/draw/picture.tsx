/** A picture with pan and zoom: dragged, scrolled, pinched, or by its buttons and keys. Only what is in view needs to be drawn. */

import { type KeyboardEvent, type PointerEvent, type ReactNode, useEffect, useLayoutEffect, useRef, useState } from "react";

/** A part of a picture, in its own units. */
export interface View {
  x: number;
  y: number;
  width: number;
  height: number;
}

interface Props {
  /** The size of the whole picture. */
  width: number;
  height: number;
  label: string;
  /** A part that is brought into view when it changes, unless a person moved the picture. */
  reveal?: View | undefined;
  children: (view: View) => ReactNode;
}

const SMALLEST = 0.1;
const LARGEST = 2;
/** Below this scale text cannot be read: a larger picture begins at it and is moved. */
const READABLE = 0.6;
const STEP = 1.25;
const MOVE = 60;
/** So many pixels of a picture stay in view. */
const EDGE = 40;
/** A pointer that moves less than this many pixels is a click. */
const CLICK = 4;

interface Place {
  scale: number;
  /** The middle of what is in view. */
  x: number;
  y: number;
}

export function Picture({ width, height, label, reveal, children }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const [size, setSize] = useState<{ width: number; height: number }>();
  const [moved, setMoved] = useState<Place>();
  const pointers = useRef(new Map<number, { x: number; y: number }>());
  const dragged = useRef(0);

  useLayoutEffect(() => {
    const element = box.current;
    if (element === null) return;
    const measure = () => setSize({ width: element.clientWidth, height: element.clientHeight });
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  useEffect(() => setMoved(undefined), [width, height]);

  const shown = { width: Math.max(1, size?.width ?? 1), height: Math.max(1, size?.height ?? 1) };
  const place = moved ?? revealed(atFirst(width, shown), shown, reveal);
  const view = { x: place.x - shown.width / place.scale / 2, y: place.y - shown.height / place.scale / 2, width: shown.width / place.scale, height: shown.height / place.scale };
  const now = useRef(place);
  now.current = place;

  /** Moves the view, of which a part of the picture stays a part. */
  const to = ({ scale, x, y }: Place) => {
    const within = (middle: number, size: number, pixels: number) => {
      const beyond = Math.max(0, pixels / 2 - EDGE) / scale;
      return Math.min(Math.max(middle, -beyond), size + beyond);
    };
    setMoved({ scale, x: within(x, width, shown.width), y: within(y, height, shown.height) });
  };
  const moveBy = (dx: number, dy: number) => to({ ...now.current, x: now.current.x + dx / now.current.scale, y: now.current.y + dy / now.current.scale });
  /** Zooms about a point, given in pixels from the middle. */
  const zoom = (factor: number, dx = 0, dy = 0) => {
    const { scale, x, y } = now.current;
    const next = Math.min(LARGEST, Math.max(SMALLEST, scale * factor));
    to({ scale: next, x: x + dx / scale - dx / next, y: y + dy / scale - dy / next });
  };

  const wheel = useRef((_: WheelEvent) => undefined as void);
  wheel.current = (event) => {
    event.preventDefault();
    const { left, top } = box.current!.getBoundingClientRect();
    if (event.ctrlKey || event.metaKey) zoom(Math.exp(-event.deltaY / 200), event.clientX - left - shown.width / 2, event.clientY - top - shown.height / 2);
    else if (event.shiftKey) moveBy(event.deltaY, 0);
    else moveBy(event.deltaX, event.deltaY);
  };
  useEffect(() => {
    const element = box.current;
    const listener = (event: WheelEvent) => wheel.current(event);
    element?.addEventListener("wheel", listener, { passive: false }); // React's own listener cannot prevent the scroll
    return () => element?.removeEventListener("wheel", listener);
  }, []);

  const down = (event: PointerEvent) => {
    if (event.button !== 0 || (event.target as Element).closest(".zoom") !== null) return;
    pointers.current.set(event.pointerId, { x: event.clientX, y: event.clientY });
    dragged.current = 0;
  };
  const move = (event: PointerEvent) => {
    const before = pointers.current.get(event.pointerId);
    if (before === undefined) return;
    if (event.buttons === 0) return void up(event); // it was released outside
    const [dx, dy] = [event.clientX - before.x, event.clientY - before.y];
    const other = [...pointers.current].find(([id]) => id !== event.pointerId)?.[1];
    if (other !== undefined) {
      const apart = (point: { x: number; y: number }) => Math.hypot(point.x - other.x, point.y - other.y);
      zoom(apart({ x: event.clientX, y: event.clientY }) / Math.max(1, apart(before)));
    } else {
      if (dragged.current < CLICK && dragged.current + Math.abs(dx) + Math.abs(dy) >= CLICK) box.current?.setPointerCapture(event.pointerId);
      moveBy(-dx, -dy);
    }
    dragged.current += Math.abs(dx) + Math.abs(dy);
    pointers.current.set(event.pointerId, { x: event.clientX, y: event.clientY });
  };
  const up = (event: PointerEvent) => pointers.current.delete(event.pointerId);

  const press = (event: KeyboardEvent) => {
    const acts: Record<string, () => void> = {
      "+": () => zoom(STEP),
      "-": () => zoom(1 / STEP),
      "0": () => setMoved(undefined),
      ArrowLeft: () => moveBy(-MOVE, 0),
      ArrowRight: () => moveBy(MOVE, 0),
      ArrowUp: () => moveBy(0, -MOVE),
      ArrowDown: () => moveBy(0, MOVE),
    };
    const act = event.ctrlKey || event.metaKey || event.altKey ? undefined : acts[event.key];
    if (act === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    act();
  };
  const isWhole = moved === undefined && width * place.scale <= shown.width && height * place.scale <= shown.height;

  return (
    <div
      ref={box}
      className="canvas"
      onPointerDown={down}
      onPointerMove={move}
      onPointerUp={up}
      onPointerCancel={up}
      onClickCapture={(event) => dragged.current >= CLICK && (event.target as Element).closest(".zoom") === null && event.stopPropagation()}
      onKeyDown={press}
    >
      <svg className="pic" viewBox={`${view.x} ${view.y} ${view.width} ${view.height}`} role="group" aria-label={label}>
        {size !== undefined && children(view)}
      </svg>
      <div className={isWhole ? "zoom whole" : "zoom"}>
        <button type="button" onClick={() => zoom(1 / STEP)} aria-label="Smaller" title="Smaller (-)">
          −
        </button>
        <button type="button" onClick={() => zoom(STEP)} aria-label="Larger" title="Larger (+)">
          +
        </button>
        <button type="button" onClick={() => setMoved(undefined)} aria-label="As at first" title="As at first (0)">
          ↺
        </button>
      </div>
    </div>
  );
}

/** Whether a part of a picture is in view, at least in part. */
export function inView(part: View, view: View): boolean {
  return part.x < view.x + view.width && view.x < part.x + part.width && part.y < view.y + view.height && view.y < part.y + part.height;
}

/** The whole width in view, from the top; a picture that would be too small to read begins in the middle of its first rows. */
function atFirst(width: number, shown: { width: number; height: number }): Place {
  const scale = Math.min(1, Math.max(READABLE, shown.width / Math.max(1, width)));
  return { scale, x: width / 2, y: shown.height / scale / 2 };
}

function revealed(place: Place, shown: { width: number; height: number }, part: View | undefined): Place {
  if (part === undefined) return place;
  const half = { width: shown.width / place.scale / 2, height: shown.height / place.scale / 2 };
  const inside = Math.abs(part.x + part.width / 2 - place.x) <= half.width && Math.abs(part.y + part.height / 2 - place.y) <= half.height;
  return inside ? place : { ...place, x: part.x + part.width / 2, y: part.y + part.height / 2 };
}
