// Spec codes. Of clusters: redis.cluster.{cpu}.large.r{copies}.s{GB per shard}.{GB in total}

import { h } from "/console/dom.js";

export function code(cpu, copies, shardGb, shards) {
  return `redis.cluster.${cpu}.large.r${copies}.s${shardGb}.${shards * shardGb}`;
}

export function isCluster(specCode) {
  return specCode.startsWith("redis.cluster.");
}

export function isSingle(specCode) {
  return specCode.startsWith("redis.single.");
}

/** Selection of a memory size. The value of an option is its spec code. */
export function memoryChoice(flavors) {
  return h("select", {}, flavors.map((flavor) => h("option", { value: flavor.spec_code }, `${flavor.capacity[0]} GB`)));
}

/** The processor type in a spec code. */
export function cpu(specCode) {
  return specCode.split(".")[2];
}
