// The page's map: lobby or room, what the address says, and the state that tests read.
//
//   lobby -> microphone -> call -> room on the page
//                           |
//                           +-> api (HTTP), events (WebSocket), RTCPeerConnection
//                           +-> floor -> radio on the page, where one has to ask before one is heard
//
// Deep links: `#room=lobby`, for short `#lobby`, fills in the room; `?autojoin=1&name=Ann` goes in at once, with
// `&listen=1` without a microphone.

import { changeRoom } from './api.js';
import { Call } from './call.js';
import { Lobby, roomFault } from './lobby.js';
import { Microphone, NoMicrophone } from './microphone.js';
import { Mute } from './mute.js';
import { Room } from './room.js';
import { Speaker } from './speaker.js';

// A microphone that is already allowed opens sooner.
const ASKING_MS = 800;

const query = new URLSearchParams(location.search);
const microphone = new Microphone();
const speaker = new Speaker(document.getElementById('sound'), document.getElementById('hear'));
const lobby = new Lobby(enter);

let call = null;
let room = null;
let entering = false;
/** A listener has asked for a microphone, and the browser may be asking back. */
let asking = false;

/** For tests and the curious; nothing on the page depends on it. */
window.mixminus = Object.freeze({
  get state() {
    return entering ? 'connecting' : (call?.state ?? 'idle');
  },
  get room() {
    return call?.room ?? null;
  },
  get id() {
    return call?.id ?? null;
  },
  get participants() {
    return room?.roster.participants ?? [];
  },
  get pc() {
    return call?.pc ?? null;
  },
  get floor() {
    if (!room) return null;
    const { mode, talkers, queue, own } = room.floor;
    return { mode, talkers: [...talkers.keys()], queue, own };
  },
});

async function enter({ room: roomName, name, listen, mode = null }) {
  if (entering || call) return;
  entering = true;
  const ask = setTimeout(() => {
    lobby.show({ room: roomName, sentence: 'The browser asks for the microphone. Allow it to go in.' });
  }, ASKING_MS);
  try {
    document.getElementById('join-button').disabled = true;
    const track = listen ? null : await microphone.open();
    begin({ roomName, name, track, mode });
  } catch (error) {
    if (!(error instanceof NoMicrophone)) throw error;
    lobby.show({ room: roomName, sentence: error.message, listen: true });
    document.getElementById('listen-only').focus();
  } finally {
    clearTimeout(ask);
    entering = false;
    document.getElementById('join-button').disabled = false;
  }
}

function begin({ roomName, name, track, mode = null }) {
  lobby.hide();
  address(roomName);
  call = new Call({ room: roomName, name, track });
  const mute = new Mute(call, track);
  room = new Room({
    call,
    mute,
    microphone,
    speaker,
    leave: () => call?.leave(),
    talk: () => talk({ roomName, name }),
    go: (other) => go({ roomName: other, name }),
  });
  const current = call;
  if (mode && mode !== 'open') found(current, mode);
  call.addEventListener('ended', ({ detail }) => {
    if (call !== current) return;
    end();
    microphone.close();
    address('');
    lobby.show({ room: roomName, sentence: detail });
    lobby.focus();
  });
  call.run();
}

function end() {
  const finished = call;
  call = null;
  finished?.leave();
  room?.close();
  room = null;
  speaker.stop();
}

/**
 * Gives a room that came into being with this very call its mode. Not by a PUT beforehand: that would make a room which
 * stays when everybody has left.
 */
function found(current, mode) {
  current.addEventListener('event', async function look({ detail: { event, room: state } }) {
    if (event !== 'room') return;
    current.removeEventListener('event', look);
    // It belongs to whoever came first, and the server lists people in that order: of two who find each other here
    // exactly one sets it.
    if (state.permanent || state.participants[0]?.id !== current.id) return;
    try {
      await changeRoom(current.room, { mode });
    } catch (error) {
      if (call === current) room.alarm(error.message);
    }
  });
}

/** Changes the room and keeps the microphone, which a browser might ask for again. */
function go({ roomName, name }) {
  end();
  begin({ roomName, name, track: microphone.track });
}

/** A listener joins anew with a microphone: a server may treat the two differently from the first packet on. */
async function talk({ roomName, name }) {
  if (asking) return;
  asking = true;
  const listening = call;
  try {
    const track = await microphone.open();
    if (call !== listening) return microphone.close();
    end();
    begin({ roomName, name, track });
  } catch (error) {
    if (!(error instanceof NoMicrophone)) throw error;
    room?.alarm(error.message);
  } finally {
    asking = false;
  }
}

/** Writes the room into the address, so that reloading the page or sharing it leads back. */
function address(roomName) {
  const hash = roomName ? `#room=${encodeURIComponent(roomName)}` : '';
  history.replaceState(null, '', location.pathname + location.search + hash);
}

function linkedRoom() {
  const linked = location.hash.slice(1);
  // People write the short form by hand.
  return new URLSearchParams(linked.includes('=') ? linked : `room=${linked}`).get('room') ?? '';
}

addEventListener('hashchange', () => {
  const linked = linkedRoom();
  if (call && linked && linked !== call.room) call.leave();
  if (!call) lobby.show({ room: linked });
});

const linked = linkedRoom();
lobby.prefill({ room: linked, name: query.get('name') });
lobby.show({ room: linked });
if (linked && roomFault(linked)) {
  lobby.show({ room: linked, sentence: `The link names no room. ${roomFault(linked)}` });
} else if (query.get('autojoin') === '1' && linked) {
  enter({ room: linked, name: query.get('name') || 'Guest', listen: query.get('listen') === '1' });
} else if (linked) {
  lobby.focus();
}
