// The page's entry: shows the lobby or a room, reads the page's address, and publishes the state
// that tests read.
//
//   lobby -> microphone -> call -> room on the page
//                           |
//                           +-> api (HTTP), room-socket (WebSocket), RTCPeerConnection
//                           +-> floor -> radio on the page, in a room with floor control
//
// Deep links: `#room=lobby`, or short `#lobby`, fills in the room, and `?name=Ann` the name.
// `?autojoin=1&listen=1` joins at once, without a microphone: no link may open a microphone without
// a click.

/** @import { JoinWish, Mode } from './types' */

import { clock } from './clock.js';
import { Mute } from './model/mute.js';
import { roomFault, spelled } from './model/room-names.js';
import { Settings } from './model/settings.js';
import { Call } from './net/call.js';
import { endAbandoned, guard } from './net/sessions.js';
import { byId } from './view/dom.js';
import { Lobby } from './view/lobby.js';
import { Microphone, NoMicrophone } from './view/microphone.js';
import { Playback } from './view/playback.js';
import { Room } from './view/room.js';

// How long the page waits for the microphone before it explains the browser's prompt. A microphone
// that the browser already allows opens sooner.
const ASKING_MS = 800;

const query = new URLSearchParams(location.search);
const settings = new Settings(() => localStorage);
const microphone = new Microphone(settings);
const playback = new Playback(byId('sound', HTMLAudioElement), byId('hear'), settings);
const lobby = new Lobby({ enter, cancel, settings });

/** @type {Call | null} */
let call = null;
/** @type {Room | null} */
let room = null;
/**
 * The attempt to join that waits for the microphone, null if there is none; each click on a room
 * starts a new attempt.
 *
 * @type {object | null}
 */
let entering = null;
/**
 * The listen-only call whose person has asked for a microphone, while the browser may show its
 * prompt; null if there is none.
 *
 * @type {Call | null}
 */
let asking = null;

/** State for tests and for debugging; nothing on the page depends on it. */
const inspection = Object.freeze({
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
Object.assign(window, { mixminus: inspection });

/** @param {JoinWish} wish */
async function enter({ room: roomName, name, listen, mode = null }) {
  if (call) return;
  const attempt = {};
  entering = attempt;
  // An earlier prompt for the microphone may still be open; its answer no longer counts.
  microphone.cancel();
  const ask = setTimeout(() => {
    if (entering !== attempt) return;
    const sentence = 'Allow the microphone to join (see the prompt by the address bar).';
    lobby.show({ room: roomName, sentence, listen: true, cancel: true });
  }, ASKING_MS);
  try {
    const track = listen ? null : await microphone.open();
    if (entering !== attempt) return;
    entering = null;
    begin({ roomName, name, track, mode });
  } catch (error) {
    if (!(error instanceof NoMicrophone)) throw error;
    if (entering !== attempt) return;
    lobby.show({ room: roomName, sentence: error.message, listen: true });
    byId('listen-only').focus();
  } finally {
    clearTimeout(ask);
    if (entering === attempt) entering = null;
  }
}

/** Cancels a join while the browser shows its prompt for the microphone. */
function cancel() {
  entering = null;
  microphone.cancel();
  lobby.show();
  lobby.focus();
}

/** @param {{ roomName: string, name: string, track: MediaStreamTrack | null, mode?: Mode | null }} wish */
function begin({ roomName, name, track, mode = null }) {
  lobby.hide();
  address(roomName);
  call = new Call({ room: roomName, name, track, mode });
  guard(call, settings);
  const mute = new Mute(call, track, clock);
  room = new Room({
    call,
    mute,
    microphone,
    playback,
    settings,
    leave: () => call?.leave(),
    talk: () => talk({ roomName, name }),
    go: (other, otherMode) => go({ roomName: other, name, mode: otherMode }),
  });
  const current = call;
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
  playback.stop();
}

/**
 * Moves the person to another room and keeps the microphone open, because a browser might prompt
 * for it again.
 *
 * @param {{ roomName: string, name: string, mode: Mode }} wish
 */
function go({ roomName, name, mode }) {
  end();
  begin({ roomName, name, track: microphone.track, mode });
}

/**
 * Lets a listener talk, by a new join with a microphone: the server treats talkers and listen-only
 * participants differently from the join on.
 *
 * @param {{ roomName: string, name: string }} wish
 */
async function talk({ roomName, name }) {
  const listening = call;
  if (!listening || asking === listening) return;
  asking = listening;
  room?.alarm('', 'microphone');
  try {
    const track = await microphone.open();
    if (call !== listening) return microphone.close();
    const { mode } = listening;
    end();
    begin({ roomName, name, track, mode });
  } catch (error) {
    if (!(error instanceof NoMicrophone)) throw error;
    if (call === listening) room?.alarm(error.message, 'microphone');
  } finally {
    if (asking === listening) asking = null;
  }
}

/**
 * Writes the room into the address, so that reloading or sharing the page leads to it.
 *
 * @param {string} roomName
 */
function address(roomName) {
  const hash = roomName ? `#room=${encodeURIComponent(roomName)}` : '';
  history.replaceState(null, '', location.pathname + location.search + hash);
}

function linkedRoom() {
  const linked = location.hash.slice(1);
  // `#lobby` is the short form, for people who type the address.
  return spelled(new URLSearchParams(linked.includes('=') ? linked : `room=${linked}`).get('room') ?? '');
}

addEventListener('hashchange', () => {
  const linked = linkedRoom();
  if (call && linked && linked !== call.room) call.leave();
  if (!call) lobby.show({ room: linked });
});

endAbandoned(settings);
const linked = linkedRoom();
lobby.prefill({ room: linked, name: query.get('name') });
lobby.show({ room: linked });
if (linked && roomFault(linked)) {
  lobby.show({ room: linked, sentence: `This link has no valid room name. ${roomFault(linked)}` });
} else if (linked && query.get('autojoin') === '1' && query.get('listen') === '1') {
  enter({ room: linked, name: query.get('name') || 'Guest', listen: true });
} else if (linked) {
  lobby.focus();
}
