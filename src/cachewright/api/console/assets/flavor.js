// Spec codes of clusters: redis.cluster.{cpu}.large.r{copies}.s{GB of a shard}.{GB in all}

export function code(cpu, copies, shardGb, shards) {
  return `redis.cluster.${cpu}.large.r${copies}.s${shardGb}.${shards * shardGb}`;
}

/** The processor that a spec code names. */
export function cpu(specCode) {
  return specCode.split(".")[2];
}
