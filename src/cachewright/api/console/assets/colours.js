// One colour for each shard. Neighbours differ in hue and in lightness.

const HUES = [224, 28, 150, 338, 262, 190, 48, 300, 96, 12, 210, 130];

export function colour(shard) {
  const hue = HUES[shard % HUES.length];
  const lightness = [52, 62, 44][shard % 3] - 4 * Math.floor(shard / HUES.length) % 3;
  return `hsl(${hue} 62% ${lightness}%)`;
}

export function shardOf(groupName) {
  return Number(groupName.replace("group-", ""));
}
