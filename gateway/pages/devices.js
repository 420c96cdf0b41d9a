// @ts-check
/**
 * The camera and the microphone of this device, and why they could not be had.
 *
 * Rules: asked for only after a person did something that needs them, and given back as soon as nothing does: the
 * camera's light is a promise. Both are needed: a call is picture and sound.
 */

/** Enough for a face and a document held up; what the media workers are planned for. */
const WISHES = {
  audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true },
  video: { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30, max: 30 }, facingMode: "user" },
};

/** @typedef {"denied" | "missing" | "busy" | "insecure" | "failed"} DeviceFault */

/** @type {Record<string, DeviceFault>} */
const FAULT_BY_NAME = {
  NotAllowedError: "denied",
  SecurityError: "denied",
  NotFoundError: "missing",
  OverconstrainedError: "missing",
  NotReadableError: "busy",
  AbortError: "busy",
};

/** No camera or microphone; `fault` is the last part of a `media.` key of the words. */
export class DeviceError extends Error {
  /** @param {DeviceFault} fault */
  constructor(fault) {
    super(fault);
    this.fault = fault;
  }
}

/**
 * Open both devices.
 * @returns {Promise<MediaStream>} owned by the caller, who ends it with `closeDevices`
 * @throws {DeviceError} tell the person what to do, and offer to try again
 */
export async function openDevices() {
  if (!navigator.mediaDevices) throw new DeviceError("insecure");
  try {
    return await navigator.mediaDevices.getUserMedia(WISHES);
  } catch (error) {
    throw new DeviceError(FAULT_BY_NAME[error instanceof Error ? error.name : ""] ?? "failed");
  }
}

/** @param {MediaStream | null} stream */
export function closeDevices(stream) {
  for (const track of stream?.getTracks() ?? []) track.stop();
}
