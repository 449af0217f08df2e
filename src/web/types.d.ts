// Types of the page's modules, checked by `tsc` (tests/web/tsconfig.json). Not served.
//
// The first half describes the JSON between page and server, as in /v1/openapi.json, as far as the
// page reads or writes it. The second half describes what the modules of net/, model/ and view/
// know about each other.

// -- The wire ------------------------------------------------------------------------------------

/** The mode of a room: `open`, `ptt`, `multi:<n>`, `cut-in`, `broadcast` or `moderated`. */
export type Mode = string;

export interface Participant {
  id: string;
  name: string;
  muted: boolean;
  talking: boolean;
  connected: boolean;
  /** Whether the participant can send sound; false for one that joined without a microphone. */
  talks: boolean;
}

/** A participant of another room who monitors this one. */
export interface Monitor {
  participant: string;
  name: string;
  room: string;
}

export interface Holder {
  participant: string;
  burst: number;
  /** Milliseconds that the holder may still talk; null without a limit. */
  left_ms: number | null;
}

/** The floor's holders and queue in a room's state; absent if the room's mode is `open`. */
export interface FloorState {
  holders: Holder[];
  /** Ids of the waiting participants, the next one first. */
  queue: string[];
}

export interface RoomState {
  name: string;
  mode: Mode;
  floor_tones?: boolean;
  participants: Participant[];
  /**
   * Number of all participants, only in a state that was shortened to fit a data channel message.
   */
  participants_total?: number;
  monitors?: Monitor[];
  monitors_total?: number;
  floor?: FloorState;
}

/** One room in the list of rooms. */
export interface RoomLine {
  name: string;
  mode: Mode;
  participants: number;
  talking: number;
  max_participants: number;
  allow_monitors: boolean;
  floor?: FloorState;
}

export interface RoomList {
  rooms: RoomLine[];
  /** Whether a join may create a room. */
  open_rooms?: boolean;
}

/** The properties of a problem document (RFC 9457) or of an `error` event that `refusal` reads. */
export interface Refusal {
  type?: string;
  title?: string;
  detail?: string;
  room?: string;
  limit?: number;
  max_participants?: number;
}

type Tagged<Tag extends string, Fields> = { event: Tag; id?: unknown } & Fields;

/**
 * The `room` of an event: the name of the room that it happened in. Absent in events of the page's
 * own room, except floor events.
 */
type Placed = { room?: string };

export type ServerEvent =
  | Tagged<'room', { room: RoomState }>
  | Tagged<'joined' | 'changed', Placed & { participant: Participant }>
  | Tagged<'left', Placed & { participant: string; reason: string; burst?: undefined }>
  | Tagged<'talking' | 'stopped', Placed & { participant: string }>
  | Tagged<'muted', Placed & { participant: string; muted: boolean }>
  | Tagged<'levels', Placed & { levels: Record<string, number> }>
  | Tagged<'monitors', Placed & { monitors: Monitor[]; monitors_total: number }>
  | Tagged<'load', Placed & { load_percent: number; max_complexity: number; joins_refused: boolean }>
  | FloorEvent
  | Tagged<'ok', Placed>
  | Tagged<'error', Placed & { type: string; detail: string }>;

export type FloorEvent =
  | Tagged<'floor_granted', Placed & { burst: number; duration_ms: number | null; priority?: number }>
  | Tagged<'floor_queued', Placed & { position: number; size: number }>
  | Tagged<'floor_denied', Placed & { cause: number; reason: string; holder?: string; retry_after_ms?: number }>
  | Tagged<'floor_taken', Placed & {
      participant: string; name: string; burst: number; duration_ms: number | null; may_request: boolean; priority?: number;
    }>
  | Tagged<'floor_idle', Placed & { n?: number }>
  | Tagged<'floor_released', Placed & { participant: string; burst: number }>
  | Tagged<'floor_revoked', Placed & { participant: string; burst?: number; cause: number; reason?: string; grace_ms: number }>
  | Tagged<'floor_queue', Placed & { queue: string[] }>;

/** The type of the server event that has this tag. */
export type EventOf<Tag extends ServerEvent['event']> = Extract<ServerEvent, { event: Tag }>;

export type Command =
  | { command: 'mute' | 'unmute' | 'floor_release' }
  | { command: 'floor_request'; id?: string }
  | { command: 'floor_grant'; participant: string }
  | { command: 'monitor'; rooms: { room: string; gain_db: number }[] };

// -- The modules ---------------------------------------------------------------------------------

/** An EventTarget with the types of its events and of their details. */
export interface TypedTarget<Events> extends EventTarget {
  addEventListener<Type extends keyof Events & string>(
    type: Type,
    listener: (event: CustomEvent<Events[Type]>) => void,
    options?: AddEventListenerOptions,
  ): void;
  addEventListener(
    type: keyof Events & string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
}

/** A source of time and timers: the browser's own in clock.js, a virtual one in tests. */
export interface Clock {
  /** Milliseconds since a fixed instant. */
  now(): number;
  /** Calls `then` once after `ms` milliseconds; returns a function that cancels the call. */
  after(ms: number, then: () => void): () => void;
}

/** The part of a browser's Storage that the page uses. */
export interface KeyValueStore {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
}

export type CallState = 'idle' | 'connecting' | 'connected' | 'reconnecting';

export interface CallEvents {
  state: undefined;
  event: ServerEvent;
  floor: ServerEvent;
  elsewhere: ServerEvent;
  session: undefined;
  stream: MediaStream;
  sync: undefined;
  ended: string;
}

/** The part of a call (net/call.js) that model/ uses. */
export interface CallHandle extends TypedTarget<CallEvents> {
  readonly id: string | null;
  readonly room: string;
  readonly state: CallState;
  readonly online: boolean;
  say(command: Command): boolean;
}

/** The part of a call that model/silence.js uses to watch the connection and to report silence. */
export interface WatchedCall extends TypedTarget<CallEvents> {
  readonly state: CallState;
  readonly silence: number;
  readonly pc: StatsSource | null;
  doubt(seconds: number): void;
}

/** The statistics of a peer connection. */
export interface StatsSource {
  getStats(): Promise<{ values(): Iterable<any> }>;
}

/** The part of a microphone's track that the mute uses. */
export interface Switchable {
  enabled: boolean;
}

/**
 * The state of the participant's own request to talk; see model/floor.js. Times are those of the
 * page's clock.
 */
export type OwnFloor =
  | { state: 'idle' | 'asking' }
  | { state: 'queued'; position: number; size: number }
  | { state: 'held'; burst: number; until: number | null; total: number | null }
  | { state: 'ending'; burst: number; until: number | null; total: number; cause: number }
  | { state: 'refused'; why: RefusedWhy; cause?: number; reason?: string; holder?: string };

export type RefusedWhy = 'denied' | 'revoked' | 'lost' | 'muted' | 'unanswered';

export interface Talker {
  name: string;
  burst?: number;
  until: number | null;
}

/** The part of a floor that model/floor-text.js reads. */
export interface FloorView {
  readonly mode: Mode | null;
  readonly own: OwnFloor;
  readonly talkers: ReadonlyMap<string, Talker>;
  readonly mayRequest: boolean;
  readonly places: number;
}

/** The texts and the icon for a state of the floor; see model/floor-text.js. */
export interface FloorDisplay {
  state: 'offline' | 'asking' | 'queued' | 'held' | 'ending' | 'denied' | 'revoked' | 'free' | 'taken';
  icon: string;
  words: string;
  more: string;
  until: number | null;
  total: number | null;
}

/** The activity of a participant; see model/roster.js. */
export type Doing = 'connecting' | 'lost' | 'muted' | 'talking' | 'holding' | 'waiting' | 'listening' | 'quiet';

/** The fields of the lobby's form when a person joins a room. */
export interface JoinWish {
  room: string;
  name: string;
  listen: boolean;
  /**
   * The mode that the person chose for a new room, or the known mode of an existing room; null if
   * unknown.
   */
  mode?: Mode | null;
}

/**
 * The topic of a notice. An empty sentence with a topic hides the notice only if the notice has
 * this topic.
 */
export type AlarmTopic = '' | 'mode' | 'microphone' | 'refusal';
export type Alarm = (sentence: string, about?: AlarmTopic) => void;
