// A libwebrtc client: plays a WAV file into a call and records what its own jitter buffer plays.
// Signals over HTTP in the shape of WHIP (this server and others), over Janus AudioBridge, or
// directly with another copy of itself.

import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { parseArgs } from 'node:util';
import wrtc from '@roamhq/wrtc';
import WebSocket from 'ws';

const { RTCPeerConnection, MediaStream, nonstandard } = wrtc;

const HELP = `wrtc.sh TARGET [--play WAV] [--record WAV] [--seconds S] [--lead S] [--tail S] [--name NAME]

TARGET  http://HOST:PORT/v1/rooms/ROOM/participants[?profile=...]  one POST of an SDP offer (WHIP-shaped)
        janus:ws://HOST:PORT#ROOM                                  Janus AudioBridge; ROOM is a number and is made at 48 kHz
        serve:HOST:PORT                                            answers the offer of another copy, which is given http://HOST:PORT/

--play     what is said: 16-bit mono WAV; silence is sent before, after and without it
--record   what is heard, 48 kHz mono, from the moment of connection
--lead     seconds of silence between the connection and the first sample of --play (default 1)
--tail     seconds to go on after the last one (default 1.5)
--seconds  ends after so many seconds, whatever was said (default: when --play has ended)
--name     the name it joins with
--fmtp         parameters of Opus in the client's own description, for instance "useinbandfec=1;usedtx=1"
--recvonly does not send

Prints {"connected_ms", "play", "record", "inbound", "outbound", "remote"}: "play" gives "start_us", the instant of its first
sample on CLOCK_MONOTONIC; "record" gives "starts_us", the same as it follows from each second of the recording (a
machine that stands still makes libwebrtc leave samples out); "late_ms" is the greatest delay of a 10 ms frame;
"inbound" are the receiver's statistics (W3C webrtc-stats names).`;

const FRAME_MS = 10;
const RATE_HZ = 48_000;

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    play: { type: 'string' },
    record: { type: 'string' },
    seconds: { type: 'string' },
    lead: { type: 'string', default: '1' },
    tail: { type: 'string', default: '1.5' },
    name: { type: 'string', default: 'wrtc' },
    fmtp: { type: 'string' },
    recvonly: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

if (flags.help || positionals.length !== 1) {
  console.log(HELP);
  process.exit(flags.help ? 0 : 2);
}

const nowUs = () => Number(process.hrtime.bigint() / 1000n);

/** Returns the samples and the sample rate of a 16-bit mono WAV file. */
function readWav(path) {
  const file = readFileSync(path);
  let at = 12;
  let rate = 0;
  while (at + 8 <= file.length) {
    const id = file.toString('latin1', at, at + 4);
    const length = file.readUInt32LE(at + 4);
    if (id === 'fmt ') {
      if (file.readUInt16LE(at + 10) !== 1 || file.readUInt16LE(at + 22) !== 16) throw new Error(`${path}: not 16-bit mono`);
      rate = file.readUInt32LE(at + 12);
    }
    if (id === 'data') {
      const bytes = file.subarray(at + 8, Math.min(at + 8 + length, file.length));
      return { rate, samples: new Int16Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + (bytes.length & ~1))) };
    }
    at += 8 + length + (length & 1);
  }
  throw new Error(`${path}: no samples`);
}

function writeWav(path, frames, rate) {
  const total = frames.reduce((sum, frame) => sum + frame.length, 0);
  const file = Buffer.alloc(44 + 2 * total);
  file.write('RIFF', 0, 'latin1');
  file.writeUInt32LE(36 + 2 * total, 4);
  file.write('WAVEfmt ', 8, 'latin1');
  file.writeUInt32LE(16, 16);
  file.writeUInt16LE(1, 20);
  file.writeUInt16LE(1, 22);
  file.writeUInt32LE(rate, 24);
  file.writeUInt32LE(2 * rate, 28);
  file.writeUInt16LE(2, 32);
  file.writeUInt16LE(16, 34);
  file.write('data', 36, 'latin1');
  file.writeUInt32LE(2 * total, 40);
  let at = 44;
  for (const frame of frames) {
    Buffer.from(frame.buffer, frame.byteOffset, frame.byteLength).copy(file, at);
    at += frame.byteLength;
  }
  writeFileSync(path, file);
}

/** Feeds an audio source in real time: silence, then the file, then silence. */
class Mouth {
  constructor(path) {
    this.source = new nonstandard.RTCAudioSource();
    this.track = this.source.createTrack();
    const file = path ? readWav(path) : { rate: RATE_HZ, samples: new Int16Array(0) };
    this.rate = file.rate;
    this.samples = file.samples;
    this.frameSamples = (this.rate * FRAME_MS) / 1000;
    this.position = null; // of the file, once it has begun
    this.late_ms = 0;
    this.done = new Promise((resolve) => (this.finished = resolve));
  }

  start() {
    this.begun_us = nowUs();
    this.frame = 0;
    this.turn();
  }

  /** Starts the file with the next frame. */
  speak() {
    this.position = 0;
  }

  turn() {
    if (this.stopped) return;
    // The deadlines are absolute, so that the frames after a late frame catch up.
    while (true) {
      const due_us = this.begun_us + this.frame * FRAME_MS * 1000;
      const ahead_ms = (due_us - nowUs()) / 1000;
      if (ahead_ms > 1.2) {
        this.timer = setTimeout(() => this.turn(), ahead_ms - 1.1);
        return;
      }
      if (ahead_ms > 0) {
        this.timer = setImmediate(() => this.turn());
        return;
      }
      this.push(due_us, -ahead_ms);
      this.frame += 1;
    }
  }

  push(due_us, late_ms) {
    const samples = new Int16Array(this.frameSamples);
    if (this.position !== null) {
      if (this.position === 0) this.start_us = due_us;
      samples.set(this.samples.subarray(this.position, this.position + this.frameSamples));
      if (this.position < this.samples.length) this.late_ms = Math.max(this.late_ms, late_ms);
      else this.finished();
      this.position += this.frameSamples;
    }
    this.source.onData({ samples, sampleRate: this.rate, bitsPerSample: 16, channelCount: 1, numberOfFrames: this.frameSamples });
  }

  stop() {
    this.stopped = true;
    clearTimeout(this.timer);
  }
}

/** Records a track, and notes for each frame its arrival minus its position in the recording. */
class Ear {
  constructor() {
    this.frames = [];
    this.arrivals = [];
  }

  attach(track) {
    this.sink = new nonstandard.RTCAudioSink(track);
    this.sink.ondata = ({ samples, sampleRate, channelCount }) => {
      const now = nowUs();
      let mono = samples;
      if (channelCount > 1) {
        mono = new Int16Array(samples.length / channelCount);
        for (let i = 0; i < mono.length; i += 1) mono[i] = (samples[2 * i] + samples[2 * i + 1]) >> 1;
      }
      // Before its first packet a receiver plays silence at another rate, which must keep its
      // duration.
      const repeats = RATE_HZ / sampleRate;
      this.frames.push(Int16Array.from({ length: mono.length * repeats }, (_, at) => mono[Math.floor(at / repeats)]));
      // A frame is handed out when its playing time starts.
      this.arrivals.push(now - this.arrivals.length * FRAME_MS * 1000);
    };
  }

  /**
   * For each second, the instant at which the recording would have started, by the earliest frame
   * of that second.
   */
  get starts_us() {
    const starts = [];
    for (let at = 0; at < this.arrivals.length; at += 100) starts.push(Math.min(...this.arrivals.slice(at, at + 100)));
    return starts;
  }

  get late_ms() {
    const starts = this.starts_us;
    return this.arrivals.reduce((most, at, frame) => Math.max(most, (at - starts[Math.floor(frame / 100)]) / 1000), 0);
  }
}

/** Returns a description with all candidates and the requested Opus parameters. */
async function gathered(pc, description) {
  if (flags.fmtp) {
    description = { type: description.type, sdp: description.sdp.replace(/(a=fmtp:111 )[^\r\n]*/, `$1${flags.fmtp}`) };
  }
  await pc.setLocalDescription(description);
  if (pc.iceGatheringState !== 'complete') {
    await new Promise((resolve) => {
      pc.onicegatheringstatechange = () => pc.iceGatheringState === 'complete' && resolve();
    });
  }
  return pc.localDescription.sdp;
}

async function whip(pc, url) {
  const offer = await gathered(pc, await pc.createOffer());
  const began = nowUs();
  const response = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/sdp' }, body: offer });
  if (response.status !== 201) throw new Error(`${url}: ${response.status} ${await response.text()}`);
  const session = new URL(response.headers.get('location') ?? '', url);
  await pc.setRemoteDescription({ type: 'answer', sdp: await response.text() });
  return { began, leave: () => fetch(session, { method: 'DELETE' }).catch(() => {}) };
}

async function janus(pc, target) {
  const { origin, hash } = new URL(target);
  const room = Number(hash.slice(1));
  const socket = new WebSocket(target.split('#')[0] || origin, 'janus-protocol');
  await new Promise((resolve, reject) => {
    socket.onopen = resolve;
    socket.onerror = () => reject(new Error(`${target}: no Janus there`));
  });
  const waiting = new Map();
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    if (message.janus !== 'ack') waiting.get(message.transaction)?.(message);
  };
  let number = 0;
  const ask = (body) =>
    new Promise((resolve) => {
      const transaction = String((number += 1));
      waiting.set(transaction, resolve);
      socket.send(JSON.stringify({ ...body, transaction }));
    });
  const session_id = (await ask({ janus: 'create' })).data.id;
  const handle_id = (await ask({ janus: 'attach', session_id, plugin: 'janus.plugin.audiobridge' })).data.id;
  const message = (body, jsep) => ask({ janus: 'message', session_id, handle_id, body, ...(jsep && { jsep }) });
  // Creating the room fails if another client has created it, which is fine.
  await message({ request: 'create', room, permanent: false, sampling_rate: 48_000, record: false });
  const sdp = await gathered(pc, await pc.createOffer());
  const began = nowUs();
  const joined = await message({ request: 'join', room, display: flags.name, muted: false }, { type: 'offer', sdp, trickle: false });
  if (!joined.jsep) throw new Error(`${target}: ${JSON.stringify(joined)}`);
  await pc.setRemoteDescription(joined.jsep);
  return { began, leave: async () => socket.close() };
}

async function serve(pc, address) {
  const [, host, port] = /^(.*):(\d+)$/.exec(address);
  let began;
  await new Promise((resolve, reject) => {
    const server = createServer(async (request, response) => {
      try {
        let sdp = '';
        for await (const part of request) sdp += part;
        if (request.method !== 'POST') {
          response.end();
          return;
        }
        began = nowUs();
        await pc.setRemoteDescription({ type: 'offer', sdp });
        const answer = await gathered(pc, await pc.createAnswer());
        response.writeHead(201, { 'content-type': 'application/sdp', location: '/session' }).end(answer);
        server.unref();
        resolve();
      } catch (error) {
        reject(error);
      }
    });
    server.listen(Number(port), host, () => console.error('listening'));
  });
  return { began, leave: async () => {} };
}

const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));

const pc = new RTCPeerConnection();
const mouth = new Mouth(flags.play);
const ear = new Ear();
const connected = new Promise((resolve, reject) => {
  pc.onconnectionstatechange = () => {
    if (pc.connectionState === 'connected') resolve(nowUs());
    if (pc.connectionState === 'failed') reject(new Error('the connection failed'));
  };
});
pc.ontrack = ({ track }) => ear.attach(track);
if (flags.recvonly) pc.addTransceiver('audio', { direction: 'recvonly' });
else pc.addTrack(mouth.track, new MediaStream([mouth.track]));

const [target] = positionals;
let join;
if (target.startsWith('janus:')) join = janus(pc, target.slice('janus:'.length));
else if (target.startsWith('serve:')) join = serve(pc, target.slice('serve:'.length));
else join = whip(pc, target);

const { began, leave } = await join;
mouth.start();
const connected_us = await connected;
console.error('connected');
await pause(Number(flags.lead));
if (flags.play) mouth.speak();
if (flags.seconds) await pause(Number(flags.seconds));
else {
  await (flags.play ? mouth.done : pause(0));
  await pause(Number(flags.tail));
}

const stats = [...(await pc.getStats()).values()];
const of = (type) => stats.find((it) => it.type === type && (it.kind === undefined || it.kind === 'audio'));
if (flags.record) writeWav(flags.record, ear.frames, RATE_HZ);
mouth.stop();
ear.sink?.stop();
await leave();
pc.close();
const frames = ear.arrivals.length;
console.log(
  JSON.stringify({
    connected_ms: (connected_us - began) / 1000,
    play: { start_us: mouth.start_us, late_ms: mouth.late_ms },
    record: { starts_us: ear.starts_us, late_ms: ear.late_ms, seconds: (frames * FRAME_MS) / 1000 },
    inbound: of('inbound-rtp'),
    outbound: of('outbound-rtp'),
    remote: of('remote-inbound-rtp'),
  }),
);
process.exit(0);
