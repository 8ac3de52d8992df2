// Line chart over time. Missing samples show as a gap.

import { h, s, show } from "/console/dom.js";

const WIDE = 480;
const HEIGHT = 150;
const LEFT = 62;
const BOTTOM = 20;
const TOP = 8;

/** `points` are [epoch milliseconds, value], oldest first; the line breaks where two points are more than `gap` milliseconds apart. */
export function chart(title, points, format, { gap = 15_000, steps = false, width = WIDE } = {}) {
  const box = h("figure", { class: "chart" });
  const last = points.at(-1);
  const heading = h("figcaption", {}, h("strong", {}, title), h("span", {}, last ? format(last[1]) : "no samples yet"));
  if (points.length < 2) {
    show(box, heading, s("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": `${title}: no samples yet` }));
    return box;
  }
  const [begin, end] = [points[0][0], last[0]];
  const top = Math.max(...points.map(([, value]) => value)) * 1.1 || 1;
  const x = (at) => LEFT + ((at - begin) / (end - begin || 1)) * (width - LEFT - 6);
  const y = (value) => TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM);
  const parts = split(points, gap).map((part) => part.map(([at, value], i) => {
    const level = steps && i ? `L${x(at).toFixed(1)} ${y(part[i - 1][1]).toFixed(1)}` : "";
    return `${i ? level : "M"}${i ? "L" : ""}${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
  }).join(""));
  const clock = (at) => new Date(at).toLocaleTimeString([], { timeStyle: "medium" });
  const cursor = s("line", { y1: TOP, y2: HEIGHT - BOTTOM, class: "cursor", visibility: "hidden" });
  const lowest = Math.min(...points.map(([, value]) => value));
  const highest = Math.max(...points.map(([, value]) => value));
  const drawing = s("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img",
    "aria-label": `${title} from ${clock(begin)} to ${clock(end)}: between ${format(lowest)} and ${format(highest)}, ${format(last[1])} at the end` },
    [0, 0.5, 1].map((share) => [
      s("line", { x1: LEFT, x2: width - 6, y1: y(top * share), y2: y(top * share), class: "grid" }),
      s("text", { x: LEFT - 6, y: y(top * share) + 4, class: "axis end" }, format(top * share))]),
    s("text", { x: LEFT, y: HEIGHT - 4, class: "axis" }, clock(begin)),
    s("text", { x: width - 6, y: HEIGHT - 4, class: "axis end" }, clock(end)),
    s("path", { d: parts.join(""), class: "line" }), cursor);
  drawing.addEventListener("pointermove", (event) => {
    const place = drawing.getBoundingClientRect();
    const at = begin + (((event.clientX - place.left) / place.width) * width - LEFT) / (width - LEFT - 6) * (end - begin);
    const near = points.reduce((best, point) => (Math.abs(point[0] - at) < Math.abs(best[0] - at) ? point : best));
    for (const end of ["x1", "x2"]) cursor.setAttribute(end, x(near[0]));
    cursor.setAttribute("visibility", "visible");
    heading.lastChild.textContent = `${format(near[1])} at ${clock(near[0])}`;
  });
  drawing.addEventListener("pointerleave", () => {
    cursor.setAttribute("visibility", "hidden");
    heading.lastChild.textContent = format(last[1]);
  });
  show(box, heading, drawing);
  return box;
}

function split(points, gap) {
  const parts = [[]];
  for (const point of points) {
    const part = parts.at(-1);
    if (part.length && point[0] - part.at(-1)[0] > gap) parts.push([point]);
    else part.push(point);
  }
  return parts;
}
