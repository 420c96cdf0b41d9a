// @ts-check
/**
 * What a peer connection's numbers say: a hint for people, figures for the bank, counts for support and tests.
 *
 * Theory: counters only grow, so a hint compares two readings. Loss is what hurts first; delay next.
 */

/** From these values on a call is noticeably worse; ITU-T G.114 calls 300 ms mouth to ear poor, half of it is the way. */
const FAIR = { loss_ratio: 0.02, round_trip_ms: 200 };
const POOR = { loss_ratio: 0.08, round_trip_ms: 450 };

/**
 * @typedef {object} Reading
 * @property {number} frames_decoded  of the other party's picture
 * @property {number} frame_width
 * @property {number} frame_height
 * @property {number} audio_energy  of the other party's sound; grows unless it is silent
 * @property {number} packets_received
 * @property {number} packets_lost
 * @property {number} bytes_received
 * @property {number} bytes_sent
 * @property {number} frames_encoded  of the own picture
 * @property {number} jitter_ms
 * @property {number} round_trip_ms
 * @property {number} freeze_count
 */

/** @type {Readonly<Reading>} */
const NOTHING = Object.freeze({
  frames_decoded: 0,
  frame_width: 0,
  frame_height: 0,
  audio_energy: 0,
  packets_received: 0,
  packets_lost: 0,
  bytes_received: 0,
  bytes_sent: 0,
  frames_encoded: 0,
  jitter_ms: 0,
  round_trip_ms: 0,
  freeze_count: 0,
});

/**
 * @param {RTCPeerConnection | null} peer
 * @returns {Promise<Reading>} all zero without a connection
 */
export async function readStats(peer) {
  const reading = { ...NOTHING };
  if (!peer || peer.connectionState === "closed") return reading;
  for (const entry of (await peer.getStats()).values()) addEntry(reading, entry);
  return reading;
}

/** @param {Reading} reading @param {any} entry  one `RTCStats` dictionary */
function addEntry(reading, entry) {
  if (entry.type === "inbound-rtp") addInbound(reading, entry);
  if (entry.type === "outbound-rtp") {
    reading.bytes_sent += entry.bytesSent ?? 0;
    reading.frames_encoded += entry.framesEncoded ?? 0;
  }
  if (entry.type === "candidate-pair" && entry.nominated && entry.currentRoundTripTime !== undefined) {
    reading.round_trip_ms = Math.round(entry.currentRoundTripTime * 1000);
  }
}

/** @param {Reading} reading @param {any} entry */
function addInbound(reading, entry) {
  reading.packets_received += entry.packetsReceived ?? 0;
  reading.packets_lost += Math.max(0, entry.packetsLost ?? 0);
  reading.bytes_received += entry.bytesReceived ?? 0;
  reading.jitter_ms = Math.max(reading.jitter_ms, Math.round((entry.jitter ?? 0) * 1000));
  if (entry.kind === "audio") reading.audio_energy += entry.totalAudioEnergy ?? 0;
  if (entry.kind !== "video") return;
  reading.frames_decoded += entry.framesDecoded ?? 0;
  reading.frame_width = entry.frameWidth ?? 0;
  reading.frame_height = entry.frameHeight ?? 0;
  reading.freeze_count += entry.freezeCount ?? 0;
}

/**
 * @param {Reading} before
 * @param {Reading} now
 * @returns {"good" | "fair" | "poor"}
 */
export function judge(before, now) {
  const lost = Math.max(0, now.packets_lost - before.packets_lost);
  const received = Math.max(0, now.packets_received - before.packets_received);
  const loss_ratio = lost + received ? lost / (lost + received) : 0;
  if (loss_ratio >= POOR.loss_ratio || now.round_trip_ms >= POOR.round_trip_ms) return "poor";
  return loss_ratio >= FAIR.loss_ratio || now.round_trip_ms >= FAIR.round_trip_ms ? "fair" : "good";
}
