// The 16384 slots as a ring: the owner of each slot, and the target of each slot that moves.

import { colour, shardOf } from "/console/colours.js";
import { s } from "/console/dom.js";
import { number } from "/console/format.js";

const SLOTS = 16384;
const SIZE = 300;
const MIDDLE = SIZE / 2;
const OWNED = [92, 122];
const MOVING = [127, 141];

export function ring(state) {
  const owned = state.shards.reduce((sum, shard) => sum + shard.slot_count, 0);
  const moving = state.moving.reduce((sum, range) => sum + range.last - range.first + 1, 0);
  return s("svg", { class: "ring", viewBox: `0 0 ${SIZE} ${SIZE}`, role: "img", "aria-label": description(state, owned, moving) },
    s("circle", { cx: MIDDLE, cy: MIDDLE, r: (OWNED[0] + OWNED[1]) / 2, class: "unowned" }),
    state.shards.flatMap((shard) =>
      shard.slots.map(([first, last]) =>
        arc(first, last + 1, OWNED, { fill: colour(shardOf(shard.group_name)), "data-shard": shard.group_name },
          `${shard.group_name}: slots ${first} to ${last}`))),
    state.moving.flatMap((range) => {
      const share = range.bytes_total ? range.bytes / range.bytes_total : 0;
      const reached = range.first + (range.last + 1 - range.first) * share;
      const text = `Slots ${range.first} to ${range.last} move from ${range.source} to ${range.target}: ${Math.round(100 * share)} %`;
      const fill = colour(shardOf(range.target));
      return [arc(range.first, range.last + 1, MOVING, { class: "coming", fill }, text),
        share > 0 && arc(range.first, reached, MOVING, { fill }, text)];
    }).filter(Boolean),
    s("text", { x: MIDDLE, y: MIDDLE - 10, class: "big" }, isKnown(state) ? number(owned) : "?"),
    s("text", { x: MIDDLE, y: MIDDLE + 14 }, summary(state, owned)),
    moving > 0 && s("text", { x: MIDDLE, y: MIDDLE + 34, class: "moving" }, `${number(moving)} moving`));
}

/** Whether a node has said who owns the slots. */
function isKnown(state) {
  return state.cluster_state !== null;
}

function summary(state, owned) {
  if (!isKnown(state)) return "no node answers";
  return owned === SLOTS ? "slots, all owned" : `of ${number(SLOTS)} slots owned`;
}

function description(state, owned, moving) {
  if (!isKnown(state)) return "Slot ring. No node answers.";
  const shares = state.shards.map((shard) => `${shard.group_name} ${shard.slot_count}`).join(", ");
  return `Slot ring. ${owned} of ${SLOTS} slots are owned: ${shares}.${moving ? ` ${moving} are moving.` : ""}`;
}

function arc(from, to, [inner, outer], attributes, title) {
  return s("path", { d: sector(from / SLOTS, to / SLOTS, inner, outer), ...attributes }, s("title", {}, title));
}

/** Path of the segment between two shares of the ring, clockwise from the top. A full ring is two paths, because an arc
    cannot end where it begins. */
function sector(from, to, inner, outer) {
  if (to - from > 0.9999) return sector(0, 0.5, inner, outer) + sector(0.5, 0.9999, inner, outer);
  const at = (share, radius) => {
    const angle = 2 * Math.PI * share;
    return `${(MIDDLE + radius * Math.sin(angle)).toFixed(2)} ${(MIDDLE - radius * Math.cos(angle)).toFixed(2)}`;
  };
  const large = to - from > 0.5 ? 1 : 0;
  return `M${at(from, outer)}A${outer} ${outer} 0 ${large} 1 ${at(to, outer)}` +
    `L${at(to, inner)}A${inner} ${inner} 0 ${large} 0 ${at(from, inner)}Z`;
}
