// The microphone: permission, choice of device, and level.

/** @import { Settings } from '../model/settings.js' */

const WISHES = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };

// Number of samples that the level is measured over: 21 ms at 48 kHz.
const METER_SAMPLES = 1024;

/** The level that a meter shows as silence, in dBFS. */
export const FLOOR_DB = -60;

/** The error that there is no microphone; `message` says what to do about it. */
export class NoMicrophone extends Error {}

export class Microphone {
  /** @type {MediaStreamTrack | null} */
  track = null;
  /** Called when the device is unplugged or another program takes it. */
  onended = () => {};

  /**
   * Counts the requests for a microphone: the browser may answer them in another order, or after a
   * request was cancelled.
   */
  #asked = 0;
  #settings;
  /** @type {AudioContext | null} */
  #context = null;
  /** @type {MediaStreamAudioSourceNode | null} */
  #source = null;
  /** @type {AnalyserNode | null} */
  #analyser = null;
  #samples = new Float32Array(METER_SAMPLES);

  /** @param {Settings} settings */
  constructor(settings) {
    this.#settings = settings;
  }

  /**
   * Opens the given device, by default the device that was chosen last time.
   *
   * @param {string} device its id, '' for any
   */
  async open(device = this.#settings.recall('microphone')) {
    if (!navigator.mediaDevices) throw new NoMicrophone(INSECURE);
    this.#asked += 1;
    const asked = this.#asked;
    const stream = await capture(device).catch((error) => {
      // The remembered device may be unplugged, or a browser update may have renamed it.
      if (device && error.name === 'OverconstrainedError') return capture('');
      throw error;
    }).catch((error) => {
      throw new NoMicrophone(REFUSALS[error.name] ?? `The microphone cannot be opened: ${error.message}`);
    });
    if (asked !== this.#asked) {
      // A later request was made, or this request was cancelled: the microphone in use stays.
      for (const track of stream.getTracks()) track.stop();
      throw new NoMicrophone('');
    }
    this.#stop();
    [this.track] = stream.getAudioTracks();
    this.track.onended = () => this.onended();
    if (device) this.#settings.remember('microphone', device);
    this.#listen(stream);
    return this.track;
  }

  /** Returns the devices to choose from: `[{ id, label, current }]`. */
  async choices() {
    const devices = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
    const current = this.track?.getSettings().deviceId;
    return devices
      .filter(({ kind, deviceId }) => kind === 'audioinput' && deviceId)
      .map(({ deviceId, label }, index) => ({
        id: deviceId,
        label: label || `Microphone ${index + 1}`,
        current: deviceId === current,
      }));
  }

  /** Returns the microphone's present level in dBFS (root mean square), no lower than FLOOR_DB. */
  level() {
    if (!this.#analyser || !this.track?.enabled) return FLOOR_DB;
    this.#analyser.getFloatTimeDomainData(this.#samples);
    let sum = 0;
    for (const sample of this.#samples) sum += sample * sample;
    return Math.max(FLOOR_DB, 10 * Math.log10(sum / this.#samples.length || 1e-9));
  }

  /** Cancels a request whose prompt the person has not answered yet. */
  cancel() {
    this.#asked += 1;
  }

  close() {
    this.cancel();
    this.#stop();
    this.#context?.close();
    this.#context = null;
    this.#analyser = null;
  }

  #stop() {
    if (this.track) this.track.onended = null;
    this.track?.stop();
    this.track = null;
    this.#source?.disconnect();
  }

  /** @param {MediaStream} stream */
  #listen(stream) {
    this.#context ??= new AudioContext({ latencyHint: 'playback' });
    if (!this.#analyser) {
      this.#analyser = this.#context.createAnalyser();
      this.#analyser.fftSize = METER_SAMPLES;
    }
    this.#source = this.#context.createMediaStreamSource(stream);
    this.#source.connect(this.#analyser);
    // A browser may require a touch or a key press on this page before the meter can start.
    if (this.#context.state === 'suspended') {
      const wake = () => this.#context?.resume();
      addEventListener('pointerdown', wake, { once: true });
      addEventListener('keydown', wake, { once: true });
    }
  }
}

/** @param {string} device */
function capture(device) {
  const deviceId = device ? { exact: device } : undefined;
  return navigator.mediaDevices.getUserMedia({ audio: { ...WISHES, deviceId } });
}

const INSECURE =
  'Browsers allow the microphone only over HTTPS. Open this address with https:// ' +
  '(start the server with --tls-self-signed), or use http://localhost on the server itself.';

/** @type {Record<string, string>} */
const REFUSALS = {
  NotAllowedError:
    'Microphone blocked. Allow it from the icon in the address bar, then join again.',
  NotFoundError: 'No microphone was found. Plug one in or switch it on, and join again.',
  NotReadableError: 'The microphone is busy: another program may be using it. Close that program and join again.',
};
