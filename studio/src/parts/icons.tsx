/** Line icons on a grid of 20 units. */

const PATHS = {
  threads: "M4 6h12M4 10h12M4 14h7",
  inbox: "M3 11l2-7h10l2 7v5H3zM3 11h4l1 2h4l1-2h4",
  runs: "M6 4l9 6-9 6z",
  graphs: "M5 5h4v4H5zM11 11h4v4h-4zM9 7h3v4",
  store: "M3 6c0-3 14-3 14 0v8c0 3-14 3-14 0zM3 6c0 3 14 3 14 0M3 10c0 3 14 3 14 0",
  crons: "M10 3a7 7 0 1 0 .01 0M10 6v4l3 2",
  server: "M4 4h12v5H4zM4 11h12v5H4zM7 6.5h.01M7 13.5h.01",
  light: "M10 6.5a3.5 3.5 0 1 0 .01 0M10 1.5v2M10 16.5v2M1.5 10h2M16.5 10h2M4 4l1.4 1.4M14.6 14.6L16 16M16 4l-1.4 1.4M5.4 14.6L4 16",
  dark: "M16.5 11.5A7 7 0 1 1 8.5 3.5a5.5 5.5 0 0 0 8 8z",
  auto: "M10 3a7 7 0 1 0 .01 0M10 3v14M10 7l5 5M10 3.5l6.5 6.5M10 11l4 4",
  keys: "M2 6h16v9H2zM5 9h.01M8 9h.01M11 9h.01M14 9h.01M6 12h8",
  search: "M9 3.5a5.5 5.5 0 1 0 .01 0M13 13l4 4",
  copies: "M6 6v11M6 9c0 4 8 2 8 6M6 2.5a1.6 1.6 0 1 0 .01 0M14 15a1.6 1.6 0 1 0 .01 0",
  error: "M10 3a7 7 0 1 0 .01 0M10 6.5v4.5M10 13.5h.01",
  lock: "M5 9h10v8H5zM7 9V6.5a3 3 0 0 1 6 0V9",
  back: "M12 4l-6 6 6 6",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name, small }: { name: IconName; small?: boolean }) {
  return (
    <svg className={small ? "icon small" : "icon"} viewBox="0 0 20 20" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}
