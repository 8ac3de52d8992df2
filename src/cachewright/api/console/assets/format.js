// Formats numbers, sizes and times.

const UNITS = ["B", "KB", "MB", "GB", "TB"];

/** 1.5 MB; powers of 1024, as Valkey counts memory. */
export function size(bytes) {
  if (bytes === null || bytes === undefined) return "–";
  let unit = 0;
  while (bytes >= 1024 && unit < UNITS.length - 1) {
    bytes /= 1024;
    unit += 1;
  }
  return `${unit && bytes < 100 ? bytes.toFixed(1) : Math.round(bytes)} ${UNITS[unit]}`;
}

export function number(value) {
  return value === null || value === undefined ? "–" : Math.round(value).toLocaleString("en");
}

/** 1 h 05 min, 2 min 10 s, 4.2 s. */
export function seconds(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (value < 10) return `${value.toFixed(1)} s`;
  const whole = Math.round(value);
  if (whole < 60) return `${whole} s`;
  const two = (part) => String(part).padStart(2, "0");
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
}

/** Local date and time. */
export function time(iso) {
  return iso ? new Date(iso).toLocaleString([], { dateStyle: "short", timeStyle: "medium" }) : "–";
}

/** Local time of day. */
export function clock(iso) {
  return iso ? new Date(iso).toLocaleTimeString([], { timeStyle: "medium" }) : "–";
}

export function between(begin, end) {
  return (new Date(end ?? Date.now()) - new Date(begin)) / 1000;
}
