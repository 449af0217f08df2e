// Runs inside each page before the page's own scripts: keeps every RTCPeerConnection, samples their
// statistics, records what they play, and can turn off the browser's processing of the microphone.
// Adds `window.__tap` for browser.mjs; the rest of the page is unchanged.
/* global __tapOptions */
(() => {
  const RATE_HZ = 48000;
  // Without a sound device Firefox never starts an AudioContext; MediaRecorder and
  // OfflineAudioContext work without one.
  const { processing, audioContext = true } = __tapOptions;

  // Runs on the audio thread: passes samples to the page about every 100 ms.
  const RECORDER = `
    registerProcessor('tap', class extends AudioWorkletProcessor {
      held = new Float32Array(4800);
      count = 0;
      process([input]) {
        const samples = input[0] ?? new Float32Array(128);
        for (const sample of samples) {
          this.held[this.count++] = sample;
          if (this.count === this.held.length) {
            this.port.postMessage(this.held.slice());
            this.count = 0;
          }
        }
        return true;
      }
    });`;

  const tap = {
    peers: [],
    errors: [],
    states: [],
    sources: new Map(),
    pieces: [],
    recording: false,
    context: null,
  };
  window.__tap = tap;

  const now = () => Math.round(performance.now());

  class TappedConnection extends window.RTCPeerConnection {
    constructor(...options) {
      super(...options);
      const peer = { connection: this, made_ms: now(), connected_ms: null };
      tap.peers.push(peer);
      this.addEventListener('connectionstatechange', () => {
        if (this.connectionState === 'connected') peer.connected_ms ??= now();
      });
      this.addEventListener('track', ({ track }) => {
        tap.track = track;
        if (track.kind === 'audio' && audioContext) listen(track).catch((error) => tap.errors.push(`recording: ${error.message}`));
      });
    }
  }
  window.RTCPeerConnection = TappedConnection;

  if (!processing && navigator.mediaDevices) {
    const native = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    const off = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    navigator.mediaDevices.getUserMedia = (wishes) => {
      const audio = wishes?.audio && { ...(wishes.audio === true ? {} : wishes.audio), ...off };
      return native({ ...wishes, audio });
    };
  }

  async function context() {
    if (!tap.context) {
      tap.context = new AudioContext({ sampleRate: RATE_HZ });
      const url = URL.createObjectURL(new Blob([RECORDER], { type: 'text/javascript' }));
      tap.ready = tap.context.audioWorklet.addModule(url);
    }
    await tap.ready;
    return tap.context;
  }

  // All remote tracks go to one recorder, so that a call that reconnects continues in the same
  // file.
  async function listen(track) {
    const audio = await context();
    if (!tap.recorder) {
      tap.recorder = new AudioWorkletNode(audio, 'tap', { channelCount: 1, channelCountMode: 'explicit' });
      tap.recorder.port.onmessage = ({ data }) => tap.recording && tap.pieces.push(data);
      // The recorder is connected through a gain of zero, because a node without a destination is
      // not rendered.
      const mute = audio.createGain();
      mute.gain.value = 0;
      tap.recorder.connect(mute).connect(audio.destination);
    }
    audio.createMediaStreamSource(new MediaStream([track])).connect(tap.recorder);
  }

  // Samples the contributors ten times a second, although they can change with every packet.
  setInterval(() => {
    const state = window.mixminus?.state ?? tap.peers.at(-1)?.connection.connectionState ?? 'none';
    if (tap.states.at(-1)?.state !== state) tap.states.push({ at_ms: now(), state });
    for (const { connection } of tap.peers) {
      if (connection.connectionState !== 'connected') continue;
      for (const receiver of connection.getReceivers()) {
        if (receiver.track.kind !== 'audio') continue;
        for (const { source, audioLevel } of receiver.getContributingSources()) {
          const seen = tap.sources.get(source) ?? { csrc: source, looks: 0, level_max: null };
          seen.looks += 1;
          if (audioLevel !== undefined) seen.level_max = Math.max(seen.level_max ?? 0, audioLevel);
          tap.sources.set(source, seen);
        }
      }
    }
  }, 100);

  tap.connected = () => {
    const peer = tap.peers.at(-1);
    return peer?.connection.connectionState === 'connected' && (window.mixminus?.state ?? 'connected') === 'connected';
  };

  tap.report = async () => {
    const peer = tap.peers.at(-1);
    const stats = peer ? [...(await peer.connection.getStats()).values()] : [];
    const one = (type, names, fits = () => true) => {
      const found = stats.find((entry) => entry.type === type && fits(entry));
      return found ? Object.fromEntries(names.map((name) => [name, found[name] ?? null])) : null;
    };
    const audio = ({ kind }) => kind === 'audio';
    return {
      state: window.mixminus?.state ?? null,
      id: window.mixminus?.id ?? null,
      participants: JSON.parse(JSON.stringify(window.mixminus?.participants ?? null)),
      connection_state: peer?.connection.connectionState ?? null,
      connections: tap.peers.length,
      connect_ms: peer?.connected_ms ? peer.connected_ms - peer.made_ms : null,
      states: tap.states,
      contributing_sources: [...tap.sources.values()],
      synchronization_sources: (peer?.connection.getReceivers() ?? []).flatMap((receiver) =>
        receiver.getSynchronizationSources().map(({ source, audioLevel }) => ({ ssrc: source, level: audioLevel ?? null })),
      ),
      inbound: one('inbound-rtp', INBOUND, audio),
      outbound: one('outbound-rtp', ['packetsSent', 'bytesSent', 'nackCount', 'targetBitrate'], audio),
      remote_inbound: one('remote-inbound-rtp', ['packetsLost', 'fractionLost', 'jitter', 'roundTripTime'], audio),
      pair: one('candidate-pair', ['currentRoundTripTime', 'packetsSent', 'packetsReceived'], ({ nominated }) => nominated),
      transport: one('transport', ['dtlsState', 'iceState', 'selectedCandidatePairChanges', 'srtpCipher', 'tlsVersion']),
      codec: one('codec', ['mimeType', 'clockRate', 'channels', 'sdpFmtpLine']),
      errors: tap.errors,
    };
  };

  const INBOUND = [
    'packetsReceived',
    'packetsLost',
    'packetsDiscarded',
    'jitter',
    'audioLevel',
    'totalAudioEnergy',
    'totalSamplesReceived',
    'concealedSamples',
    'silentConcealedSamples',
    'concealmentEvents',
    'insertedSamplesForDeceleration',
    'removedSamplesForAcceleration',
    'fecPacketsReceived',
    'jitterBufferDelay',
    'jitterBufferEmittedCount',
  ];

  tap.begin = () => {
    tap.pieces = [];
    tap.recording = true;
    if (audioContext) return;
    tap.parts = [];
    tap.began = performance.now();
    tap.media = new MediaRecorder(new MediaStream([tap.track]));
    tap.media.ondataavailable = ({ data }) => tap.parts.push(data);
    tap.media.start();
  };

  /** The duration of the recording so far, in seconds. */
  tap.seconds = () => {
    if (!audioContext) return (performance.now() - tap.began) / 1000;
    return tap.pieces.reduce((length, piece) => length + piece.length, 0) / RATE_HZ;
  };

  /** Returns the samples that MediaRecorder has recorded. */
  async function decoded() {
    const stopped = new Promise((resolve) => (tap.media.onstop = resolve));
    tap.media.stop();
    await stopped;
    const encoded = await new Blob(tap.parts).arrayBuffer();
    const audio = await new OfflineAudioContext(1, RATE_HZ, RATE_HZ).decodeAudioData(encoded);
    return audio.getChannelData(0);
  }

  /** Returns the recording as base64 of 16-bit little-endian samples. */
  tap.end = async () => {
    tap.recording = false;
    if (!audioContext) tap.pieces = [await decoded()];
    const pcm = new Int16Array(tap.pieces.reduce((length, piece) => length + piece.length, 0));
    let at = 0;
    for (const piece of tap.pieces) {
      for (const sample of piece) pcm[at++] = Math.round(32767 * Math.max(-1, Math.min(1, sample)));
    }
    const url = await new Promise((resolve) => {
      const reader = new FileReader();
      reader.onload = () => resolve(reader.result);
      reader.readAsDataURL(new Blob([pcm]));
    });
    return url.slice(url.indexOf(',') + 1);
  };
})();
