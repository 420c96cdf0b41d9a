// @ts-check
/** What the pages read over REST: the services that can be asked for. Everything else goes over the protocol client. */

const TIMEOUT_MS = 8_000;

/**
 * @typedef {object} Queue
 * @property {string} queue_id
 * @property {Record<string, string>} name  by language
 * @property {number} waiting_count
 * @property {number} [longest_wait_ms]  for bank employees only
 * @property {Record<string, number>} [agents]  counts by state, for bank employees only
 * @property {string} [media]  `external`: another system carries picture and sound
 */

/**
 * The bank's queues, in its own order.
 * @param {string} token
 * @returns {Promise<Queue[] | null>} null: they cannot be had now; ask again later
 */
export async function readQueues(token) {
  try {
    const headers = { Authorization: `Bearer ${token}` };
    const response = await fetch("/v1/queues", { headers, signal: AbortSignal.timeout(TIMEOUT_MS) });
    return response.ok ? (await response.json()).queues : null;
  } catch {
    return null;
  }
}

/** @param {Queue[] | null} queues @param {string} queue_id @returns {Queue | undefined} */
export function queueOf(queues, queue_id) {
  return queues?.find((queue) => queue.queue_id === queue_id);
}
