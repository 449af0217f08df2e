// The room's WebSocket, which carries events and commands. Reconnects until it is closed.
// Dispatches `event` (detail: the server's JSON) and `lost` (a connection, or an attempt to
// connect, has ended).

/** @import { Command, ServerEvent, TypedTarget } from '../types' */

import { clock } from '../clock.js';
import { Pause, pauseMs } from './backoff.js';

// Limit of one attempt to connect: a proxy that ignores the upgrade would block it for a minute or
// more.
const OPEN_MS = 8_000;

/** @typedef {{ event: ServerEvent, lost: undefined }} RoomSocketEvents */

export class RoomSocket extends /** @type {new () => TypedTarget<RoomSocketEvents>} */ (EventTarget) {
  #url;
  /** @type {WebSocket | null} */
  #socket = null;
  #closed = false;
  #pause = new Pause(clock);

  /** @param {string} url */
  constructor(url) {
    super();
    this.#url = url;
    this.#run();
  }

  get open() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  /**
   * Sends a command; returns false if there is no connection.
   *
   * @param {Command & { session?: string }} command
   */
  send(command) {
    if (!this.#socket || !this.open) return false;
    this.#socket.send(JSON.stringify(command));
    return true;
  }

  /**
   * Reconnects now, because after a change of network the old connection may be dead without an
   * error.
   */
  renew() {
    this.#socket?.close();
    this.#pause.wake();
  }

  close() {
    this.#closed = true;
    this.#socket?.close();
    this.#pause.wake();
  }

  async #run() {
    for (let failures = 0; !this.#closed; failures += 1) {
      await this.#pause.sleep(pauseMs(failures));
      if (this.#closed) return;
      if (await this.#session()) failures = 0;
      if (!this.#closed) this.dispatchEvent(new Event('lost'));
    }
  }

  /**
   * Runs one connection from open to close; returns true if it ever carried a message.
   *
   * @returns {Promise<boolean>}
   */
  #session() {
    return new Promise((resolve) => {
      let useful = false;
      const socket = new WebSocket(this.#url);
      const timer = setTimeout(() => socket.close(), OPEN_MS);
      this.#socket = socket;
      socket.onopen = () => clearTimeout(timer);
      socket.onmessage = ({ data }) => {
        useful = true;
        if (!this.#closed) this.dispatchEvent(new CustomEvent('event', { detail: JSON.parse(data) }));
      };
      socket.onclose = () => {
        clearTimeout(timer);
        resolve(useful);
      };
    });
  }
}
