// @ts-check
/** What the pages read over REST: the services that can be asked for. All else is the protocol's. */

const TIMEOUT_MS = 8_000;

/**
 * @typedef {object} Queue
 * @property {string} queue_id
 * @property {Record<string, string>} name  by language
 * @property {number} waiting_count
 * @property {number} [longest_wait_ms]  for bank employees only
 * @property {Record<string, number>} [agents]  counts by state, for bank employees only
 */

/**
 * The bank's queues, in its own order.
 * @param {string} token
 * @returns {Promise<Queue[] | null>} null: they cannot be had now; ask again later
 */
export async function readQueues(token) {
  return (await read("/v1/queues", token))?.queues ?? null;
}

/** @param {string} path @param {string} token @returns {Promise<any>} null: it cannot be had now */
async function read(path, token) {
  try {
    const headers = { Authorization: `Bearer ${token}` };
    const response = await fetch(path, { headers, signal: AbortSignal.timeout(TIMEOUT_MS) });
    return response.ok ? await response.json() : null;
  } catch {
    return null;
  }
}

/** @param {Queue[] | null} queues @param {string} queue_id @returns {Queue | undefined} */
export function queueOf(queues, queue_id) {
  return queues?.find((queue) => queue.queue_id === queue_id);
}
